//! What scripts answer, taken apart.

use larder_core::Result;
use redis::Value;

use crate::{connection::Connection, fault::unexpected_reply};

/// The list that a script answered.
pub(crate) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// # Errors
    /// The error that was answered instead, or that it was no list.
    pub(crate) fn of(connection: &Connection, answer: Value) -> Result<Self> {
        match connection.answer(answer)? {
            Value::Array(parts) => Ok(Self(parts.into_iter())),
            _ => Err(unexpected_reply()),
        }
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        match self.0.next() {
            Some(Value::Int(number)) => u64::try_from(number).map_err(|_| unexpected_reply()),
            _ => Err(unexpected_reply()),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            _ => Err(unexpected_reply()),
        }
    }

    pub(crate) fn list(&mut self) -> Result<Vec<Value>> {
        match self.0.next() {
            Some(Value::Array(parts)) => Ok(parts),
            _ => Err(unexpected_reply()),
        }
    }

    /// A history's id; `None` where the script did not ask the sequence.
    pub(crate) fn history(&mut self) -> Result<Option<u64>> {
        let digits = self.bytes()?;
        if digits.is_empty() {
            return Ok(None);
        }
        let number = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
        number.map(Some).ok_or_else(unexpected_reply)
    }
}
