//! `docker save` archives (`manifest.json`) and OCI archives (OCI image-spec, image-layout.md).

use super::Loaded;
use super::spool::{Found, Spool, bad};
use crate::image::catalog::ImageRecord;
use crate::image::config::{CONFIG_BYTES_MAX, ConfigFile};
use crate::image::digest::{Digest, chain_ids, digest_like};
use crate::image::error::{ImageError, Result};
use crate::image::manifest::{self, Descriptor, Document, INDEX_DEPTH_MAX, MANIFEST_BYTES_MAX, Manifest};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::store::{ImageStore, NewImage};
use serde::Deserialize;
use std::io::Read;

/// Images in one archive.
const IMAGES_MAX: usize = 100;

/// An entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An image found in an archive: where its parts are.
struct Source {
    config: Vec<u8>,
    /// The digest the archive promises for the configuration, if it does.
    config_digest: Option<Digest>,
    /// Names in the archive with the digest promised for the compressed layer, if any.
    layers: Vec<(String, Option<Digest>)>,
    manifest: Option<(Digest, Vec<u8>)>,
    names: Vec<Reference>,
}

impl ImageStore {
    /// Loads all images of an archive (Docker API `POST /images/load`), which may be compressed. Blocks.
    ///
    /// Images load one after the other: on an error those before it are there, the bad one and the rest are not.
    pub fn load(&self, archive: impl Read) -> Result<Vec<Loaded>> {
        let spool = Spool::read(archive, &self.inner.tmp)?;
        let sources = if spool.find("manifest.json").is_some() {
            saved_images(&spool)?
        } else if spool.find("index.json").is_some() {
            oci_images(&spool)?
        } else {
            return Err(bad("it has neither manifest.json nor index.json; is it a root file system to import?"));
        };
        sources.into_iter().map(|source| self.load_one(&spool, source)).collect()
    }

    fn load_one(&self, spool: &Spool, source: Source) -> Result<Loaded> {
        let shown = source.names.first().map_or_else(|| "the archived image".to_owned(), Reference::familiar);
        let id = match &source.config_digest {
            Some(digest) => digest.clone(),
            None => Digest::sha256(&source.config),
        };
        check_digest(&format!("the configuration of {shown}"), &id, &source.config)?;
        let config = ConfigFile::parse(&source.config, &shown)?;
        let diff_ids = config.rootfs.diff_ids.clone();
        if diff_ids.len() != source.layers.len() {
            let reason = format!("it has {} layers, its configuration {}", source.layers.len(), diff_ids.len());
            return Err(ImageError::BadManifest { what: shown, reason });
        }
        let chain_ids = chain_ids(&diff_ids);
        let pins = self.inner.pin(chain_ids.clone());
        let result = self.unpack_layers(spool, &source, &diff_ids, &chain_ids, &shown).and_then(|size| {
            let manifest_digest = source.manifest.as_ref().map(|(digest, _)| digest.clone());
            let created = config.created.clone();
            let record = ImageRecord { id, diff_ids, chain_ids, size, created, manifest: manifest_digest };
            let names = source.names.clone();
            self.inner.commit(NewImage { record, config: source.config, manifest: source.manifest, names })
        });
        drop(pins);
        if result.is_err() {
            self.inner.collect_layers()?;
        }
        Ok(Loaded { image: result?, names: source.names.iter().map(Reference::familiar).collect() })
    }

    /// Unpacks what is not here yet and gives the size of all.
    fn unpack_layers(
        &self,
        spool: &Spool,
        source: &Source,
        diff_ids: &[Digest],
        chain: &[Digest],
        shown: &str,
    ) -> Result<u64> {
        let mut size = 0;
        for (i, (name, promised)) in source.layers.iter().enumerate() {
            let what = format!("layer {} of {shown}", i + 1);
            if let Some(there) = self.inner.layers.get(&chain[i]) {
                size += there.size;
                continue;
            }
            let file = spool.get(name)?;
            if let Some(promised) = promised {
                check_file(&what, promised, &file)?;
            }
            let meta =
                self.inner.layers.apply(file.open()?, Some(file.bytes), &diff_ids[..i], Some(&diff_ids[i]), &what)?;
            size += meta.size;
        }
        Ok(size)
    }
}

fn check_digest(what: &str, expected: &Digest, bytes: &[u8]) -> Result<()> {
    let actual = digest_like(expected, bytes);
    if actual == *expected {
        return Ok(());
    }
    Err(ImageError::DigestMismatch {
        what: what.to_owned(),
        expected: expected.to_string(),
        actual: actual.to_string(),
    })
}

fn check_file(what: &str, expected: &Digest, file: &Found<'_>) -> Result<()> {
    // Another algorithm is checked through the digest of the plain layer, which the configuration has.
    if expected.algorithm() != file.sha256.algorithm() || expected == file.sha256 {
        return Ok(());
    }
    let (expected, actual) = (expected.to_string(), file.sha256.to_string());
    Err(ImageError::DigestMismatch { what: what.to_owned(), expected, actual })
}

fn saved_images(spool: &Spool) -> Result<Vec<Source>> {
    let bytes = spool.small("manifest.json", MANIFEST_BYTES_MAX)?;
    let saved: Vec<SavedImage> =
        serde_json::from_slice(&bytes).map_err(|e| bad(format!("manifest.json does not parse: {e}")))?;
    check_count(saved.len())?;
    let source = |image: SavedImage| -> Result<Source> {
        let tags = image.repo_tags.unwrap_or_default();
        Ok(Source {
            config: spool.small(&image.config, CONFIG_BYTES_MAX)?,
            config_digest: digest_in_name(&image.config),
            layers: image.layers.into_iter().map(|name| (name.clone(), digest_of_blob(&name))).collect(),
            manifest: None,
            names: tags.iter().map(|tag| Reference::parse(tag)).collect::<Result<_>>()?,
        })
    };
    saved.into_iter().map(source).collect()
}

/// `<hex>.json` of old archives, `blobs/sha256/<hex>` of new ones.
fn digest_in_name(name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(".json").unwrap_or(name);
    digest_of_blob(name).or_else(|| Digest::parse(&format!("sha256:{hex}")).ok())
}

fn digest_of_blob(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

fn check_count(images: usize) -> Result<()> {
    match images {
        0 => Err(bad("it lists no image")),
        n if n > IMAGES_MAX => {
            Err(ImageError::TooBig { what: "the archive".into(), limit: format!("{IMAGES_MAX} images") })
        }
        _ => Ok(()),
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn oci_images(spool: &Spool) -> Result<Vec<Source>> {
    let bytes = spool.small("index.json", MANIFEST_BYTES_MAX)?;
    let Document::Index(entries) = Document::parse(&bytes, "the archive")? else {
        return Err(bad("index.json is not an index"));
    };
    let images: Vec<&Descriptor> = entries.iter().filter(|d| d.is_image()).collect();
    check_count(images.len())?;
    let mut sources: Vec<Source> = Vec::new();
    let mut skipped = None;
    for entry in &images {
        let alone = images.iter().filter(|other| name_of(other) == name_of(entry)).count() == 1;
        // Several of one name are its platforms; of one alone the user decided.
        if !alone && entry.platform.as_ref().is_some_and(|p| Platform::host().distance(p).is_none()) {
            skipped = Some(*entry);
            continue;
        }
        sources.push(oci_image(spool, entry)?);
    }
    if sources.is_empty() && skipped.is_some() {
        let owned: Vec<Descriptor> = images.into_iter().cloned().collect();
        manifest::choose(&owned, &Platform::host(), "the archive")?;
    }
    Ok(sources)
}

fn oci_image(spool: &Spool, entry: &Descriptor) -> Result<Source> {
    let names: Vec<Reference> = name_of(entry).map(Reference::parse).transpose()?.into_iter().collect();
    let shown = names.first().map_or_else(|| "the archived image".to_owned(), Reference::familiar);
    let (digest, bytes, manifest) = follow(spool, &entry.digest, &shown)?;
    let config = spool.small(&blob_name(&manifest.config.digest), CONFIG_BYTES_MAX)?;
    Ok(Source {
        config,
        config_digest: Some(manifest.config.digest),
        layers: manifest.layers.into_iter().map(|l| (blob_name(&l.digest), Some(l.digest))).collect(),
        manifest: Some((digest, bytes)),
        names,
    })
}

/// From an index to the manifest for this machine.
fn follow(spool: &Spool, digest: &Digest, shown: &str) -> Result<(Digest, Vec<u8>, Manifest)> {
    let mut digest = digest.clone();
    for _ in 0..INDEX_DEPTH_MAX {
        let bytes = spool.small(&blob_name(&digest), MANIFEST_BYTES_MAX)?;
        check_digest(&format!("the manifest of {shown}"), &digest, &bytes)?;
        match Document::parse(&bytes, shown)? {
            Document::Image(manifest) => return Ok((digest, bytes, manifest)),
            Document::Index(entries) => digest = manifest::choose(&entries, &Platform::host(), shown)?.digest.clone(),
        }
    }
    Err(ImageError::TooBig {
        what: format!("the index of {shown}"),
        limit: format!("{INDEX_DEPTH_MAX} indexes within each other"),
    })
}

/// The full name where the writer gave it; `ref.name` may also be a bare tag, which names no repository.
fn name_of(entry: &Descriptor) -> Option<&str> {
    let name = entry.annotation("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/']));
    entry.annotation("io.containerd.image.name").or(name)
}
