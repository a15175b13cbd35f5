//! One request, taken apart: version, path, query, body.

use crate::carry::Origin;
use crate::error::ApiError;
use crate::json::{Fields, Object, Written};
use crate::{Ports, compat, version::ApiVersion};
use axum::body::Body;
use axum::extract::Query as AxumQuery;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::sync::Mutex;
use swarm_core::Sensitive;
use swarm_core::store::{Txn, View};
use tokio_util::sync::CancellationToken;

/// Bytes of a JSON body: the largest legitimate one is a config of 1000 KiB in base64, with room for a large spec.
const JSON_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Both alphabets of base64 occur in headers, with and without padding.
const URL_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);
const STD_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// What handlers give back.
pub type Outcome = Result<Response, ApiError>;

/// Parameters after the `?`, in order; names may repeat.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(uri: &Uri) -> Result<Self, ApiError> {
        let pairs = AxumQuery::<Vec<(String, String)>>::try_from_uri(uri);
        pairs.map(|AxumQuery(pairs)| Self(pairs)).map_err(|error| ApiError::bad(error.body_text()))
    }

    /// The last value of a parameter; empty when absent.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().rev().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// As Docker reads booleans: anything but empty, 0, no, false and none is true.
    pub fn flag(&self, name: &str) -> bool {
        !matches!(self.text(name).trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// As [`Self::flag`], where Docker takes something else than false when the parameter is absent.
    pub fn flag_or(&self, name: &str, absent: bool) -> bool {
        match self.0.iter().any(|(key, _)| key == name) {
            true => self.flag(name),
            false => absent,
        }
    }

    /// A boolean where Docker takes nothing else (Go's `strconv.ParseBool`); false when absent.
    pub fn strict_flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.text(name) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(ApiError::bad(format!("invalid value for {name}: {other}"))),
        }
    }

    /// The object version a write is based on.
    pub fn version(&self) -> Result<u64, ApiError> {
        let text = self.text("version");
        text.parse().map_err(|_| ApiError::bad(format!("invalid version number: \"{text}\": query parameter version")))
    }
}

/// One request.
pub struct Call {
    pub ports: Ports,
    pub version: ApiVersion,
    pub origin: Origin,
    /// As it came: path with version, query.
    pub uri: Uri,
    pub query: Query,
    pub headers: HeaderMap,
    /// Taken by whoever reads it. In a mutex only because a body can't be shared, which handlers' futures ask of a call.
    pub body: Mutex<Body>,
    /// There when the connection can be taken over (`Upgrade`).
    pub upgrade: Option<hyper::upgrade::OnUpgrade>,
    /// Cancelled when the daemon ends: an answer without end must end with it.
    pub shutdown: CancellationToken,
}

impl Call {
    /// The body, once; empty after that.
    pub fn take_body(&mut self) -> Body {
        self.body.get_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The body as JSON; null when empty.
    pub async fn value(&mut self) -> Result<Value, ApiError> {
        let body = self.take_body();
        let bytes = axum::body::to_bytes(body, JSON_BODY_BYTES_MAX).await.map_err(|_| {
            let message = format!("request body is larger than {JSON_BODY_BYTES_MAX} bytes or broke off");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        })?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| ApiError::bad(format!("invalid JSON: {error}")))
    }

    /// The body as a JSON object, without what the request's version lacks.
    pub async fn fitting(&mut self, request: compat::Request) -> Result<Object, ApiError> {
        let mut body = self.value().await?;
        compat::read(self.version, request, &mut body)?;
        Object::root(body)
    }

    /// The answer as the request's version has it.
    pub fn write(&self, answer: compat::Answer, object: Fields) -> Fields {
        match compat::is_newest(self.version, answer) {
            true => object,
            false => compat::write(self.version, answer, object.into()).into(),
        }
    }

    /// The body as a JSON object; an empty one when there is none.
    pub async fn object(&mut self) -> Result<Object, ApiError> {
        Object::root(self.value().await?)
    }

    /// A linearizable snapshot, on managers only.
    pub async fn view(&self) -> Result<View, ApiError> {
        crate::swarm::require_manager(&self.ports.cluster.status())?;
        Ok(self.ports.cluster.read().await?)
    }

    pub async fn submit(&self, txn: Txn) -> Result<(), ApiError> {
        Ok(self.ports.cluster.submit(txn).await?)
    }

    /// `X-Registry-Auth`, as sent; empty credentials count as none.
    pub fn registry_auth(&self) -> Result<Option<Sensitive<String>>, ApiError> {
        let Some(header) = self.headers.get("x-registry-auth") else {
            return Ok(None);
        };
        let text = header.to_str().map_err(|_| ApiError::bad("X-Registry-Auth: not ASCII text"))?;
        let fields = decode_auth(text)?;
        let any = fields.as_object().is_some_and(|map| map.values().any(|v| v.as_str().is_some_and(|t| !t.is_empty())));
        Ok(any.then(|| Sensitive::new(text.to_owned())))
    }
}

/// The JSON inside a base64 `AuthConfig`.
pub fn decode_auth(text: &str) -> Result<Value, ApiError> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let bytes = decode_base64(text).ok_or_else(|| ApiError::bad("X-Registry-Auth: not base64"))?;
    serde_json::from_slice(&bytes).map_err(|_| ApiError::bad("X-Registry-Auth: not JSON inside the base64"))
}

/// Base64 in either alphabet, padded or not.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    URL_BASE64.decode(text).or_else(|_| STD_BASE64.decode(text)).ok()
}

/// The segments of a path, decoded.
pub fn segments(path: &str) -> Result<Vec<String>, ApiError> {
    let decoded = path.split('/').filter(|segment| !segment.is_empty()).map(|segment| {
        let text = percent_decode_str(segment).decode_utf8();
        text.map(|text| text.into_owned()).map_err(|_| ApiError::bad("path is not UTF-8"))
    });
    decoded.collect()
}

pub fn ok(value: impl Written) -> Outcome {
    Ok(json(StatusCode::OK, value))
}

pub fn created(fields: Fields) -> Outcome {
    Ok(json(StatusCode::CREATED, fields))
}

fn json(status: StatusCode, value: impl Written) -> Response {
    let mut text = Vec::new();
    value.write(&mut text);
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

pub fn empty(status: StatusCode) -> Outcome {
    Ok(status.into_response())
}
