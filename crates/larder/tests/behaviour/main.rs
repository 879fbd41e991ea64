//! What a stack promises its users, on test stores and paused time.

mod flights;
mod freshness;
mod nodes;
mod outages;
mod reads;
mod support;
mod writes;
