//! Digests of images: asked of their registries when a service is written, so that all its tasks run the same content.
//!
//! As docker's client does, through the daemon. Where the registry cannot be asked, the service is written with the name
//! alone and the user is told: a cluster without a way to a registry runs what its hosts have.

use super::options::CONTAINER;
use crate::client::{Client, image_segment};
use crate::commands::image::name_and_tag;
use crate::error::CliError;
use crate::json::{list, set, text};
use crate::registry;
use serde_json::{Value, json};

/// What a registry says of an image.
#[derive(Debug, PartialEq, Eq)]
pub struct Pinned {
    image: String,
    platforms: Vec<Value>,
}

/// Asks for an image; none when there is no answer, which is told.
pub async fn ask(client: &Client, image: &str) -> Option<Pinned> {
    let found = match registry::auth_header(image) {
        Ok(headers) => client.get_with_headers(&format!("/distribution/{}/json", image_segment(image)), &headers).await,
        Err(error) => Err(error),
    };
    let pinned =
        found.and_then(|found| pinned(image, &found).ok_or_else(|| CliError::usage("the answer names no digest")));
    match pinned {
        Ok(pinned) => Some(pinned),
        Err(error) => {
            eprintln!("{image}: its digest is not recorded, so nodes may run different versions of it: {error}");
            None
        }
    }
}

fn pinned(image: &str, found: &Value) -> Option<Pinned> {
    let digest = Some(text(found, "/Descriptor/digest")).filter(|digest| !digest.is_empty())?;
    let image = match (image.contains('@'), name_and_tag(image)) {
        (true, _) => image.to_owned(),
        (false, (_, Some(_))) => format!("{image}@{digest}"),
        (false, (name, None)) => format!("{name}:latest@{digest}"),
    };
    let platform =
        |platform: &Value| json!({ "Architecture": text(platform, "/architecture"), "OS": text(platform, "/os") });
    Some(Pinned { image, platforms: list(found, "/Platforms").iter().map(platform).collect() })
}

impl Pinned {
    /// Into a specification.
    pub fn put(&self, spec: &mut Value) {
        set(spec, &format!("{CONTAINER}/Image"), self.image.as_str());
        set(spec, "/TaskTemplate/Placement/Platforms", self.platforms.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_pinned_by_its_digest_and_to_its_platforms() {
        let found =
            json!({"Descriptor": {"digest": "sha256:ab"}, "Platforms": [{"architecture": "amd64", "os": "linux"}]});
        let name = |image: &str| pinned(image, &found).map(|pinned| pinned.image);
        assert_eq!(name("redis:7").as_deref(), Some("redis:7@sha256:ab"));
        assert_eq!(name("host:5000/redis").as_deref(), Some("host:5000/redis:latest@sha256:ab"));
        assert_eq!(name("redis@sha256:cd").as_deref(), Some("redis@sha256:cd"), "the user's own digest stays");
        let mut spec = json!({"TaskTemplate": {"ContainerSpec": {"Image": "redis:7"}}});
        pinned("redis:7", &found).expect("it has a digest").put(&mut spec);
        assert_eq!(
            spec,
            json!({"TaskTemplate": {"ContainerSpec": {"Image": "redis:7@sha256:ab"},
            "Placement": {"Platforms": [{"Architecture": "amd64", "OS": "linux"}]}}})
        );
        assert_eq!(pinned("redis:7", &json!({})), None);
    }
}
