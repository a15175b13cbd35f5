//! Manifests and indexes (OCI image-spec manifest.md and image-index.md; Docker's schema 2 has the same fields).

use super::digest::Digest;
use super::error::{ImageError, Result};
use super::platform::Platform;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Bytes of a manifest or index we read (distribution-spec: registries should accept at least this).
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Indexes within indexes that we follow.
pub(crate) const INDEX_DEPTH_MAX: usize = 3;

/// What we accept when we ask a registry for an image.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Points at content.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Attestations and signatures travel in an index as images of an unknown platform.
    pub(crate) fn is_image(&self) -> bool {
        self.annotation("vnd.docker.reference.type").is_none()
            && self.platform.as_ref().is_none_or(|p| p.os != "unknown" && p.architecture != "unknown")
    }
}

/// An image: its configuration and its layers, lowest first.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// What a digest or a tag may lead to.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Image(Manifest),
    Index(Vec<Descriptor>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

impl Document {
    /// Parses and checks; `what` names the document in errors.
    pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        let bad = |reason: String| ImageError::BadManifest { what: format!("the manifest of {what}"), reason };
        let raw: Raw = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if raw.schema_version != 2 {
            return Err(bad(format!("schema version {} is not supported, only 2", raw.schema_version)));
        }
        match (raw.manifests, raw.config, raw.layers) {
            (Some(manifests), None, None) => Ok(Document::Index(manifests)),
            (None, Some(config), layers) => {
                let layers = layers.unwrap_or_default();
                if layers.len() > super::layer::LAYERS_MAX {
                    return Err(ImageError::TooBig {
                        what: format!("the number of layers of {what}"),
                        limit: super::layer::LAYERS_MAX.to_string(),
                    });
                }
                if let Some(odd) = layers.iter().find(|l| l.media_type.contains("+encrypted")) {
                    return Err(ImageError::Unsupported {
                        what: format!("the encrypted layer {} of {what}", odd.digest.short()),
                    });
                }
                Ok(Document::Image(Manifest { config, layers }))
            }
            // Two kinds in one document is how one digest is made to mean two images (CVE-2021-41190).
            (Some(_), _, _) => Err(bad("it is an index and an image at once".into())),
            (None, None, _) => Err(bad(format!("it has no configuration ({})", raw.media_type.unwrap_or_default()))),
        }
    }
}

/// What a manifest or index calls itself; older OCI writers leave that out.
pub(crate) fn media_type(bytes: &[u8]) -> String {
    let named = serde_json::from_slice::<Raw>(bytes).ok();
    let (named, is_index) = named.map_or((None, false), |raw| (raw.media_type, raw.manifests.is_some()));
    let usual =
        if is_index { "application/vnd.oci.image.index.v1+json" } else { "application/vnd.oci.image.manifest.v1+json" };
    named.unwrap_or_else(|| usual.to_owned())
}

/// The entry of an index that suits `wanted` best, or what there is.
pub(crate) fn choose<'a>(entries: &'a [Descriptor], wanted: &Platform, reference: &str) -> Result<&'a Descriptor> {
    let images: Vec<&Descriptor> = entries.iter().filter(|d| d.is_image()).collect();
    let best = images
        .iter()
        .filter_map(|d| d.platform.as_ref().and_then(|p| wanted.distance(p)).map(|distance| (distance, *d)))
        .min_by_key(|(distance, _)| *distance);
    if let Some((_, found)) = best {
        return Ok(found);
    }
    // One entry that does not say what it runs on: its configuration will.
    if let [only] = images.as_slice()
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let available =
        images.iter().filter_map(|d| d.platform.as_ref()).map(|p| p.clone().normalised().to_string()).collect();
    Err(ImageError::PlatformMissing { reference: reference.to_owned(), wanted: wanted.to_string(), available })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> String {
        let entries: Vec<String> = platforms
            .iter()
            .enumerate()
            .map(|(i, p)| {
                let p = Platform::parse(p).expect("platform");
                let digest = Digest::sha256(&[i as u8]);
                format!(
                    r#"{{"mediaType":"m","digest":"{digest}","size":1,"platform":{{"os":"{}","architecture":"{}","variant":"{}"}}}}"#,
                    p.os, p.architecture, p.variant
                )
            })
            .collect();
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","))
    }

    fn chosen(platforms: &[&str], wanted: &str) -> Result<usize> {
        let Document::Index(entries) = Document::parse(index(platforms).as_bytes(), "x")? else {
            panic!("not an index")
        };
        let found = choose(&entries, &Platform::parse(wanted)?, "x:1")?.digest.clone();
        Ok((0..platforms.len()).find(|i| Digest::sha256(&[*i as u8]) == found).expect("one of them"))
    }

    #[test]
    fn the_entry_of_the_wanted_platform_is_chosen() {
        let all = ["linux/arm/v6", "linux/arm/v7", "linux/amd64", "unknown/unknown", "linux/arm64/v8"];
        assert_eq!(chosen(&all, "linux/amd64").expect("there"), 2);
        assert_eq!(chosen(&all, "linux/arm64").expect("there"), 4);
        assert_eq!(chosen(&all, "linux/arm/v7").expect("there"), 1);
        assert_eq!(chosen(&all, "linux/arm/v6").expect("there"), 0);
    }

    #[test]
    fn a_missing_platform_lists_what_there_is() {
        let error = chosen(&["linux/arm64", "unknown/unknown", "windows/amd64"], "linux/amd64").expect_err("not there");
        assert_eq!(error.to_string(), "x:1 has no image for linux/amd64; it has: linux/arm64, windows/amd64");
    }

    #[test]
    fn a_document_that_is_index_and_image_at_once_is_refused() {
        let d = format!(r#"{{"mediaType":"m","digest":"{}","size":1}}"#, Digest::sha256(b""));
        let both = format!(r#"{{"schemaVersion":2,"manifests":[],"config":{d},"layers":[]}}"#);
        assert!(Document::parse(both.as_bytes(), "x").is_err());
        assert!(Document::parse(br#"{"schemaVersion":1}"#, "x").is_err());
        assert!(Document::parse(br#"{"schemaVersion":2}"#, "x").is_err());
    }
}
