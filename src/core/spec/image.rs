//! The grammar of image references: `[domain[:port]/]path[:tag][@algorithm:digest]`.
//!
//! Source: the distribution project's reference grammar. Only says yes or no; who pulls parses.

/// Characters of the name part, at most.
const NAME_LEN_MAX: usize = 255;
/// Characters of a tag, at most.
const TAG_LEN_MAX: usize = 128;
/// Hexadecimal digits of a digest, at least.
const DIGEST_HEX_MIN: usize = 32;

/// Whether `text` is an image reference.
pub(super) fn is_reference(text: &str) -> bool {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return false;
    }
    // A colon after the last slash starts the tag; one before it belongs to the domain's port.
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[last..].find(':') {
        Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
        None => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return false;
    }
    is_name(name)
}

fn is_name(name: &str) -> bool {
    if name.is_empty() || name.len() > NAME_LEN_MAX {
        return false;
    }
    let path = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" || first.starts_with('[') => {
            if !is_domain(first) {
                return false;
            }
            path
        }
        Some(_) | None => name,
    };
    // 64 hexadecimal digits would be an id, not a name.
    let is_id = path.len() == 64 && path.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    !is_id && path.split('/').all(is_component)
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (domain, None),
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let alphanumeric = |b: u8| b.is_ascii_alphanumeric();
    host.split('.').all(|label| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(alphanumeric)
            && bytes.last().copied().is_some_and(alphanumeric)
            && bytes.iter().all(|&b| alphanumeric(b) || b == b'-')
    })
}

/// Lower-case letters and digits, between them one dot, one or two underscores, or hyphens.
fn is_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let edges = bytes.first().copied().is_some_and(word) && bytes.last().copied().is_some_and(word);
    edges
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .filter(|separator| !separator.is_empty())
            .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_LEN_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return false;
    };
    let algorithm_holds =
        !algorithm.is_empty() && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b));
    let sha256_holds = algorithm != "sha256" || hex.len() == 64;
    algorithm_holds && sha256_holds && hex.len() >= DIGEST_HEX_MIN && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn what_people_write_is_a_reference() {
        let digest = format!("redis@sha256:{}", "0".repeat(64));
        let good = ["redis", "redis:7", "library/redis:7.2-alpine", "localhost/x", "localhost:5000/a/b:c", &digest];
        for text in good.into_iter().chain(["10.0.0.1:5000/my__app", "[::1]:5000/x", "a.b/c_d-e--f.g"]) {
            assert!(is_reference(text), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_pulled_is_refused() {
        for text in ["", "Redis", "redis:", "a b", "a//b", "a/", "x@sha256:12", "a..b/c:", "-a", "a:t/b", "https://x/y"]
        {
            assert!(!is_reference(text), "{text}");
        }
        assert!(!is_reference(&"0".repeat(64)));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text: String) {
            let _ = is_reference(&text);
        }
    }
}
