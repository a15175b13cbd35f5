//! Versions of the Engine API: which are served, and how a request says which it means.

use crate::error::ApiError;
use std::fmt;

/// `1.44` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    pub major: u16,
    pub minor: u16,
}

impl ApiVersion {
    /// Oldest served: the last one clients of before 2017 speak.
    pub const MIN: ApiVersion = ApiVersion { major: 1, minor: 24 };
    /// Newest served: the newest that is published.
    pub const MAX: ApiVersion = ApiVersion { major: 1, minor: 55 };
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Splits `/v1.44/services` into version and path; a path without version means the newest.
pub fn split(path: &str) -> Result<(ApiVersion, &str), ApiError> {
    let Some(rest) = path.strip_prefix("/v") else {
        return Ok((ApiVersion::MAX, path));
    };
    let (text, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some(version) = parse(text) else {
        // `/volumes` begins like a version and is none.
        return Ok((ApiVersion::MAX, path));
    };
    if version > ApiVersion::MAX {
        let newest = ApiVersion::MAX;
        return Err(ApiError::bad(format!(
            "client version {version} is too new. Maximum supported API version is {newest}"
        )));
    }
    if version < ApiVersion::MIN {
        let oldest = ApiVersion::MIN;
        return Err(ApiError::bad(format!(
            "client version {version} is too old. Minimum supported API version is {oldest}, please upgrade your client to a newer version"
        )));
    }
    Ok((version, tail))
}

/// Reads `1.44`.
pub fn parse(text: &str) -> Option<ApiVersion> {
    let (major, minor) = text.split_once('.')?;
    Some(ApiVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_taken_off_the_path() {
        let version = |minor| ApiVersion { major: 1, minor };
        assert_eq!(split("/v1.24/services/x"), Ok((version(24), "/services/x")));
        assert_eq!(split("/services"), Ok((ApiVersion::MAX, "/services")));
        assert_eq!(split("/volumes/v1"), Ok((ApiVersion::MAX, "/volumes/v1")));
    }

    #[test]
    fn versions_outside_the_range_are_refused_as_docker_refuses_them() {
        let message = |path| split(path).unwrap_err().message;
        assert_eq!(message("/v1.99/x"), "client version 1.99 is too new. Maximum supported API version is 1.55");
        assert!(
            message("/v1.12/x").starts_with("client version 1.12 is too old. Minimum supported API version is 1.24")
        );
    }
}
