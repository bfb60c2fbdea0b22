//! The server's value as a [`Reply`].

use redis::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::store::Reply;

pub(super) fn read(value: Value) -> Result<Reply> {
    Ok(match value {
        Value::Nil => Reply::Null,
        Value::Int(int) => Reply::Int(int),
        Value::BulkString(bytes) => Reply::Text(
            String::from_utf8(bytes)
                .map_err(|err| Error::with_source(ErrorKind::Corrupt, "the store holds bytes that are no text", err))?,
        ),
        Value::SimpleString(status) => Reply::Status(status),
        Value::Okay => Reply::Status("OK".to_owned()),
        Value::Array(values) => Reply::Array(values.into_iter().map(read).collect::<Result<_>>()?),
        other => {
            return Err(Error::new(
                ErrorKind::Store,
                format!("the script answered with {other:?}, which none of ours does"),
            ));
        }
    })
}
