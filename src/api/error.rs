//! Errors as clients see them: a status and `{"message": "..."}`.

use crate::ports::{Failure, SubmitError, Unavailable};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use swarm_core::control::Refusal;
use swarm_core::store::Conflict;

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// 400.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The answer to paths the Engine API does not have.
    pub fn page_not_found() -> Self {
        Self::not_found("page not found")
    }

    /// 501, for what the Engine API has and this server has not.
    pub fn not_implemented(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, format!("{what} is not implemented yet"))
    }

    /// The answer to an update that is based on an older version of the object. Docker's store gives this error no code,
    /// so it leaves the engine as one of its own; tools that try again go by its words.
    fn out_of_sequence() -> Self {
        let words = "rpc error: code = Unknown desc = update out of sequence";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, words)
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(serde_json::json!({ "message": self.message }))).into_response()
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let status = match &failure {
            Failure::Invalid(_) => StatusCode::BAD_REQUEST,
            Failure::Forbidden(_) => StatusCode::FORBIDDEN,
            Failure::NotFound(_) => StatusCode::NOT_FOUND,
            Failure::Conflict(_) => StatusCode::CONFLICT,
            Failure::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Failure::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Failure::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, failure.to_string())
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> Self {
        Self::unavailable(unavailable.0)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::OutOfSequence { .. } => return Self::out_of_sequence(),
            Refusal::Invalid(_) | Refusal::NotNow(_) => StatusCode::BAD_REQUEST,
            Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
            Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::Exists(_) => StatusCode::CONFLICT,
            Refusal::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
        };
        Self::new(status, refusal.to_string())
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let conflict = match error {
            SubmitError::Unavailable(words) => return Self::unavailable(words),
            SubmitError::Conflict(conflict) => conflict,
        };
        let status = match &conflict {
            Conflict::Refused(refusal) => return refusal.clone().into(),
            Conflict::OutOfSequence { .. } => return Self::out_of_sequence(),
            Conflict::Fenced { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Conflict::NotFound { .. } => StatusCode::NOT_FOUND,
            // Docker's answer to what is in use, too.
            Conflict::InUse { .. } => StatusCode::BAD_REQUEST,
            Conflict::Exists { .. } | Conflict::NameTaken { .. } => StatusCode::CONFLICT,
        };
        Self::new(status, conflict.to_string())
    }
}
