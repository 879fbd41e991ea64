//! What the engine is told of a value type: how to write it, read it, weigh it and whether to keep it.

use std::{marker::PhantomData, mem::size_of, sync::Arc};

use larder_core::{Codec, CodecError, CodecId};
use serde::{Serialize, de::DeserializeOwned};

use super::typed::typed;
use crate::{
    schema,
    value::{AnyValue, Shape},
};

pub(crate) type Weigher<V> = Box<dyn Fn(&V) -> u64 + Send + Sync>;
pub(crate) type Predicate<V> = Box<dyn Fn(&V) -> bool + Send + Sync>;
type Decode = Box<dyn Fn(&[u8]) -> Result<AnyValue, CodecError> + Send + Sync>;

/// What is the same for values that stores can hold and values that they cannot.
pub(crate) struct Custom<V> {
    pub(crate) weigher: Option<Weigher<V>>,
    pub(crate) predicate: Option<Predicate<V>>,
}

impl<V> Default for Custom<V> {
    fn default() -> Self {
        Self { weigher: None, predicate: None }
    }
}

/// A value type that stores can hold.
pub(crate) struct Storable<V, C> {
    pub(crate) custom: Custom<V>,
    pub(crate) codec: C,
    pub(crate) readers: Vec<Reader>,
    pub(crate) schema: u64,
}

/// A codec that is read although another writes.
pub(crate) struct Reader {
    codec: CodecId,
    decode: Decode,
}

impl Reader {
    pub(crate) fn new<V, C>(codec: C) -> Self
    where
        V: DeserializeOwned + Send + Sync + 'static,
        C: Codec,
    {
        let id = codec.id();
        let decode = move |bytes: &[u8]| codec.decode::<V>(bytes).map(|value| Arc::new(value) as AnyValue);
        Self { codec: id, decode: Box::new(decode) }
    }
}

impl<V, C> Storable<V, C>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    C: Codec,
{
    pub(crate) fn new(custom: Custom<V>, codec: C, readers: Vec<Reader>, schema: Option<u64>) -> Self {
        Self { custom, codec, readers, schema: schema.unwrap_or_else(schema::fingerprint::<V>) }
    }
}

impl<V, C> Shape for Storable<V, C>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    C: Codec,
{
    fn codec(&self) -> CodecId {
        self.codec.id()
    }

    fn schema(&self) -> u64 {
        self.schema
    }

    fn encode(&self, value: &AnyValue, out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.codec.encode(typed::<V>(value), out)
    }

    fn decode(&self, codec: CodecId, bytes: &[u8]) -> Option<Result<AnyValue, CodecError>> {
        if codec == self.codec.id() {
            return Some(self.codec.decode::<V>(bytes).map(|value| Arc::new(value) as AnyValue));
        }
        let reader = self.readers.iter().find(|reader| reader.codec == codec)?;
        Some((reader.decode)(bytes))
    }

    fn weigh(&self, value: &AnyValue, encoded_bytes: Option<usize>) -> u64 {
        let value = typed::<V>(value);
        match &self.custom.weigher {
            Some(weigher) => weigher(value),
            None => {
                let heap = encoded_bytes.or_else(|| postcard::experimental::serialized_size(value).ok());
                (size_of::<V>() + heap.unwrap_or(0)) as u64
            }
        }
    }

    fn should_store(&self, value: &AnyValue) -> bool {
        self.custom.predicate.as_ref().is_none_or(|keep| keep(typed::<V>(value)))
    }
}

/// A value type that never leaves memory.
pub(crate) struct MemoryOnly<V> {
    pub(crate) custom: Custom<V>,
    pub(crate) values: PhantomData<fn() -> V>,
}

impl<V: Send + Sync + 'static> Shape for MemoryOnly<V> {
    fn codec(&self) -> CodecId {
        CodecId(0)
    }

    fn schema(&self) -> u64 {
        0
    }

    fn encode(&self, _: &AnyValue, _: &mut Vec<u8>) -> Result<(), CodecError> {
        Err(CodecError::new("the namespace was built in memory and has no codec"))
    }

    fn decode(&self, _: CodecId, _: &[u8]) -> Option<Result<AnyValue, CodecError>> {
        None
    }

    fn weigh(&self, value: &AnyValue, _: Option<usize>) -> u64 {
        match &self.custom.weigher {
            Some(weigher) => weigher(typed::<V>(value)),
            None => size_of::<V>() as u64,
        }
    }

    fn should_store(&self, value: &AnyValue) -> bool {
        self.custom.predicate.as_ref().is_none_or(|keep| keep(typed::<V>(value)))
    }
}
