//! Redis and Valkey as a tier of Larder.
