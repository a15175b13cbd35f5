//! Names of images as people write them (`web:2`) and as they are meant (`docker.io/library/web:2`).
//!
//! The grammar is the one of the distribution project's `reference` package, which Docker uses.

use super::digest::Digest;
use super::error::{ImageError, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The registry of a name without one.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of a name without tag and digest.
pub const DEFAULT_TAG: &str = "latest";
/// Characters in registry and repository together (the limit of the distribution project).
const NAME_LENGTH_MAX: usize = 255;
/// Characters in a tag.
const TAG_LENGTH_MAX: usize = 128;

/// A normalised image reference: the registry is always there; a tag, a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses what a user writes. Without tag and digest it is `latest`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |reason| ImageError::BadReference { text: text.chars().take(NAME_LENGTH_MAX).collect(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; before it, it is the port of the registry.
        let name_start = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest[name_start..].find(':') {
            Some(i) => (&rest[..name_start + i], Some(&rest[name_start + i + 1..])),
            None => (rest, None),
        };
        if let Some(tag) = tag {
            check_tag(tag).map_err(bad)?;
        }
        if name.is_empty() {
            return Err(bad("the name is empty"));
        }
        if name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("a name of 64 hex digits cannot be told from an image id"));
        }
        let (registry, repository) = split_registry(name);
        check_registry(&registry).map_err(bad)?;
        check_repository(&repository).map_err(bad)?;
        if registry.len() + 1 + repository.len() > NAME_LENGTH_MAX {
            return Err(bad("the name is longer than 255 characters"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_TAG.to_owned()),
        };
        Ok(Self { registry, repository, tag, digest })
    }

    /// Host, with port if not the default: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// `library/web`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; none only when there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest or index it is pinned to.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: `docker.io/library/web`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name as people write it: `web`, `host:5000/x`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        match self.repository.strip_prefix("library/") {
            Some(short) if !short.contains('/') => short.to_owned(),
            Some(_) | None => self.repository.clone(),
        }
    }

    /// The whole as people write it: `web:2`, `web@sha256:...`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.push_tag_and_digest(&mut text);
        text
    }

    /// The same repository and tag, without digest; `None` when there is no tag.
    pub fn tagged(&self) -> Option<Reference> {
        self.tag.as_ref()?;
        Some(Reference { digest: None, ..self.clone() })
    }

    /// The same repository pinned to `digest`, without tag.
    pub fn pinned(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    fn push_tag_and_digest(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
    }
}

impl fmt::Display for Reference {
    /// The normalised form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.push_tag_and_digest(&mut text);
        f.write_str(&text)
    }
}

impl std::str::FromStr for Reference {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = ImageError;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

/// The first part is a registry when it could not be part of a repository: it has a dot, a colon or
/// an upper-case letter, or is `localhost`.
fn split_registry(name: &str) -> (String, String) {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        Some(_) | None => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        return (registry.to_owned(), format!("library/{repository}"));
    }
    (registry.to_owned(), repository.to_owned())
}

fn check_registry(registry: &str) -> std::result::Result<(), &'static str> {
    let bad = Err("the registry is not a host name with an optional port");
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("", port.strip_prefix(':')),
            Some(_) | None => return bad,
        },
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        },
    };
    if port.is_some_and(|p| p.parse::<u16>().is_err() || !p.bytes().all(|b| b.is_ascii_digit())) {
        return Err("the port of the registry is not a number below 65536");
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if registry.starts_with('[') || host.split('.').all(label_ok) { Ok(()) } else { bad }
}

fn check_repository(repository: &str) -> std::result::Result<(), &'static str> {
    for part in repository.split('/') {
        if part.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err("the repository name must be lower case");
        }
        if !part_ok(part) {
            return Err("a repository name has lower-case letters and digits, separated by '.', '_', '__' or '-'");
        }
    }
    Ok(())
}

/// `[a-z0-9]+ ( ('.' | '_' | '__' | '-'+) [a-z0-9]+ )*`
fn part_ok(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(|b| word(*b)) || !bytes.last().is_some_and(|b| word(*b)) {
        return false;
    }
    bytes
        .split(|b| word(*b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn check_tag(tag: &str) -> std::result::Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let ok = !tag.is_empty()
        && tag.len() <= TAG_LENGTH_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if ok {
        Ok(())
    } else {
        Err("a tag has at most 128 letters, digits, '_', '.' and '-', and starts with neither of the last two")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn a_name_is_normalised_and_shown_again_as_it_was_written() {
        let pinned = format!("host:5000/x@sha256:{HEX}");
        let both = format!("web:2@sha256:{HEX}");
        let table = [
            ("web", "docker.io/library/web:latest", "web:latest"),
            ("web:2", "docker.io/library/web:2", "web:2"),
            ("acme/web", "docker.io/acme/web:latest", "acme/web:latest"),
            ("docker.io/web", "docker.io/library/web:latest", "web:latest"),
            ("index.docker.io/library/web:2", "docker.io/library/web:2", "web:2"),
            ("localhost/web", "localhost/web:latest", "localhost/web:latest"),
            ("host:5000/x", "host:5000/x:latest", "host:5000/x:latest"),
            ("host.example/a/b/c:1.0-rc", "host.example/a/b/c:1.0-rc", "host.example/a/b/c:1.0-rc"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("a__b/c--d.e:_x", "docker.io/a__b/c--d.e:_x", "a__b/c--d.e:_x"),
            ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            (&pinned, &pinned, &pinned),
            (&both, &format!("docker.io/library/web:2@sha256:{HEX}"), &both),
        ];
        for (text, full, familiar) in table {
            let parsed = Reference::parse(text).expect(text);
            assert_eq!(parsed.to_string(), full);
            assert_eq!(parsed.familiar(), familiar);
            assert_eq!(Reference::parse(full).expect(full), parsed);
        }
    }

    #[test]
    fn what_is_not_a_reference_is_refused_with_the_reason() {
        let long = "a".repeat(300);
        for text in [
            "",
            ":",
            "web:",
            "Web",
            "acme/Web",
            "web@",
            "web@sha256:12",
            "-web",
            "web-",
            "a..b",
            "a___b",
            "web:-1",
            "a//b",
            "/web",
            "web/",
            "host:99999/x",
            "host:/x",
            "we b",
            "http://host/x",
            HEX,
            &long,
            "web:a b",
            "..",
            "a/../b",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
