//! Reading a provider's usage object. Filled in next.

use serde_json::Value;

use super::usage::Usage;
use crate::{Error, Result};

impl Usage {
    /// Reads a whole response object or a bare usage object of OpenAI or Anthropic, telling them apart by their fields.
    ///
    /// # Errors
    /// `ErrorKind::Invalid` names the field that is missing, is not a count, or contradicts another.
    pub fn from_json(_value: &Value) -> Result<Self> {
        Err(Error::invalid("not read yet"))
    }

    /// Reads OpenAI's convention (chat completions, responses, realtime).
    ///
    /// # Errors
    /// As [`Usage::from_json`].
    pub fn from_openai_json(_value: &Value) -> Result<Self> {
        Err(Error::invalid("not read yet"))
    }

    /// Reads Anthropic's convention.
    ///
    /// # Errors
    /// As [`Usage::from_json`].
    pub fn from_anthropic_json(_value: &Value) -> Result<Self> {
        Err(Error::invalid("not read yet"))
    }
}
