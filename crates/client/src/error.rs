//! Why a request to the log failed.

use thiserror::Error;
use tidewater_protocol::ResponseError;

/// A failed request.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The broker answered with an error.
    #[error("{action} {place} failed: {error:?}{}", message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default())]
    Refused {
        /// What was asked for.
        action: &'static str,
        /// On which topic or partition.
        place: String,
        /// Kafka's error.
        error: ResponseError,
        /// What the broker said.
        message: Option<String>,
    },
    /// The broker does not know the request, or answered another one.
    #[error("the broker cannot {0}")]
    Unsupported(&'static str),
}

impl ClientError {
    /// Turns an error code into a result.
    pub(crate) fn check(
        code: i16,
        action: &'static str,
        place: &impl std::fmt::Display,
        message: Option<String>,
    ) -> Result<(), Self> {
        match code {
            0 => Ok(()),
            code => {
                let error = ResponseError::try_from_code(code).unwrap_or(ResponseError::UnknownServerError);
                Err(ClientError::Refused { action, place: place.to_string(), error, message })
            }
        }
    }

    /// Kafka's error, if the broker sent one.
    pub fn code(&self) -> Option<ResponseError> {
        match self {
            ClientError::Refused { error, .. } => Some(*error),
            ClientError::Unsupported(_) => None,
        }
    }
}
