//! `/images` and `/distribution`.

use crate::call::{Call, Outcome, decode_auth, empty, ok};
use crate::compat::Answer;
use crate::error::ApiError;
use crate::filters::{Filters, glob};
use crate::json::{Fields, Object, rfc3339_ns};
use crate::ports::{ImageRecord, ImageRemoval, Progress, ProgressStream, PullRequest, RegistryAuth, Upload};
use crate::routes::unknown_below;
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use std::convert::Infallible;
use swarm_core::Sensitive;

const FILTERS: [&str; 3] = ["dangling", "label", "reference"];

pub async fn route(call: Call, method: &str, first: &str, rest: &[&str]) -> Outcome {
    if first == "distribution" {
        return match (method, rest) {
            ("GET", [name @ .., "json"]) if !name.is_empty() => distribution(call, &name.join("/")).await,
            _ => Err(ApiError::page_not_found()),
        };
    }
    match (method, rest) {
        ("GET", ["json"]) => list(call).await,
        ("POST", ["create"]) => create(call).await,
        ("POST", ["load"]) => load(call).await,
        ("GET", ["search"]) | ("GET", ["get"]) => Err(unknown_below(method, "images", rest)),
        ("GET", [name @ .., "json"]) => inspect(call, &name.join("/")).await,
        ("GET", [name @ .., "history"]) if !name.is_empty() => history(call, &name.join("/")).await,
        ("POST", [name @ .., "tag"]) if !name.is_empty() => tag(call, &name.join("/")).await,
        ("DELETE", name) if !name.is_empty() => remove(call, &name.join("/")).await,
        _ => Err(unknown_below(method, "images", rest)),
    }
}

/// Credentials of `X-Registry-Auth`; empty ones count as none.
fn auth(call: &Call) -> Result<Option<RegistryAuth>, ApiError> {
    let Some(text) = call.registry_auth()? else {
        return Ok(None);
    };
    let mut object = Object::root(decode_auth(text.expose())?)?;
    let mut auth = RegistryAuth {
        username: object.string("username")?,
        password: Sensitive::new(object.string("password")?),
        identity_token: Sensitive::new(object.string("identitytoken")?),
        registry_token: Sensitive::new(object.string("registrytoken")?),
    };
    // The older form: "user:password" in base64.
    let joined = object.string("auth")?;
    for name in ["email", "serveraddress"] {
        object.string(name)?;
    }
    object.finish()?;
    if auth.username.is_empty() && !joined.is_empty() {
        let decoded = crate::call::decode_base64(&joined).and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) =
            pair.ok_or_else(|| ApiError::bad("X-Registry-Auth: auth is not user:password in base64"))?;
        auth.username = user.to_owned();
        auth.password = Sensitive::new(password.to_owned());
    }
    Ok(Some(auth))
}

async fn list(call: Call) -> Outcome {
    let filters = Filters::read(&call.query, &FILTERS)?;
    let dangling = filters.flag("dangling")?;
    let images = call.ports.local.images().await?;
    let found = images.iter().filter(|image| {
        filters.any("reference", |pattern| image.repo_tags.iter().any(|name| matches_reference(pattern, name)))
            && filters.labels("label", &image_labels(image))
            && dangling.is_none_or(|wanted| image.repo_tags.is_empty() == wanted)
    });
    ok(found.map(|image| call.write(Answer::ImageSummary, write_summary(image))).collect::<Vec<_>>())
}

/// A pattern without a tag is matched against the name alone, too.
fn matches_reference(pattern: &str, reference: &str) -> bool {
    let slash = reference.rfind('/').map_or(0, |at| at + 1);
    let name = reference[slash..].find(':').map_or(reference, |colon| &reference[..slash + colon]);
    glob(pattern, reference) || glob(pattern, name)
}

fn image_labels(image: &ImageRecord) -> std::collections::BTreeMap<String, String> {
    let labels = image.configuration["config"]["Labels"].as_object();
    let pairs = labels.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    pairs.collect()
}

/// API `ImageSummary`.
pub fn write_summary(image: &ImageRecord) -> Fields {
    Fields::new()
        .set("Id", image.id.as_str())
        .set("ParentId", "")
        .set("RepoTags", image.repo_tags.clone())
        .set("RepoDigests", image.repo_digests.clone())
        .set("Created", image.created_s)
        .set("Size", image.size_bytes)
        .set("SharedSize", -1)
        .set("Labels", crate::json::strings(&image_labels(image)))
        .set("Containers", image.containers)
}

async fn inspect(call: Call, name: &str) -> Outcome {
    if name.is_empty() {
        return Err(ApiError::page_not_found());
    }
    let image = call.ports.local.image(name).await?;
    let configuration = &image.configuration;
    let text = |name: &str| configuration[name].as_str().unwrap_or_default().to_owned();
    let created = match text("created") {
        text if text.is_empty() => rfc3339_ns(image.created_s.saturating_mul(1_000_000_000)),
        text => text,
    };
    let layers = configuration["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
    let answer = Fields::new()
        .set("Id", image.id.as_str())
        .set("RepoTags", image.repo_tags.clone())
        .set("RepoDigests", image.repo_digests.clone())
        .set("Parent", "")
        .set("Comment", last_comment(configuration))
        .set("Created", created)
        .set("DockerVersion", "")
        .set("Author", text("author"))
        .set("Config", configuration["config"].clone())
        .set("Architecture", text("architecture"))
        .filled("Variant", text("variant"))
        .set("Os", text("os"))
        .set("Size", image.size_bytes)
        .set("GraphDriver", json!({ "Name": "overlayfs", "Data": {} }))
        .set("RootFS", json!({ "Type": "layers", "Layers": layers }))
        .set("Metadata", json!({ "LastTagTime": crate::json::ZERO_TIME }));
    ok(call.write(Answer::Image, answer))
}

fn last_comment(configuration: &Value) -> String {
    let history = configuration["history"].as_array();
    let comment = history.and_then(|history| history.last()?["comment"].as_str().map(str::to_owned));
    comment.unwrap_or_default()
}

async fn history(call: Call, name: &str) -> Outcome {
    let image = call.ports.local.image(name).await?;
    let steps = image.configuration["history"].as_array().cloned().unwrap_or_default();
    let last = steps.len().saturating_sub(1);
    let written = steps.iter().enumerate().rev().map(|(index, step)| {
        let created_ns =
            step["created"].as_str().and_then(|text| crate::json::parse_timestamp_ns("created", text).ok());
        let newest = index == last;
        json!({
            "Id": if newest { image.id.as_str() } else { "<missing>" },
            "Created": created_ns.flatten().unwrap_or_default() / 1_000_000_000,
            "CreatedBy": step["created_by"].as_str().unwrap_or_default(),
            "Tags": if newest { json!(image.repo_tags) } else { Value::Null },
            "Size": 0,
            "Comment": step["comment"].as_str().unwrap_or_default(),
        })
    });
    ok(written.collect::<Vec<_>>())
}

/// `name` with a tag or digest, from the two parameters Docker has for them.
fn reference(name: &str, tag: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if name.contains('@') || (tag.is_empty() && last.contains(':')) {
        return name.to_owned();
    }
    match tag {
        "" => format!("{name}:latest"),
        digest if digest.contains(':') => format!("{name}@{digest}"),
        tag => format!("{name}:{tag}"),
    }
}

async fn create(mut call: Call) -> Outcome {
    let (image, source) = (call.query.text("fromImage").to_owned(), call.query.text("fromSrc").to_owned());
    if !image.is_empty() {
        let request = PullRequest {
            reference: reference(&image, call.query.text("tag")),
            auth: auth(&call)?,
            platform: call.query.text("platform").to_owned(),
        };
        return stream_progress(&call, call.ports.local.pull(request).await?).await;
    }
    match source.as_str() {
        "" => Err(ApiError::bad("fromImage or fromSrc must be given")),
        "-" => {
            let repo = call.query.text("repo");
            let name = if repo.is_empty() { String::new() } else { reference(repo, call.query.text("tag")) };
            let (changes, message) = (call.query.all("changes"), call.query.text("message").to_owned());
            let body = upload(&mut call);
            stream_progress(&call, call.ports.local.import(body, name, changes, message).await?).await
        }
        _ => Err(ApiError::not_implemented("importing an image from an address (fromSrc other than -)")),
    }
}

pub fn upload(call: &mut Call) -> Upload {
    call.take_body().into_data_stream().map(|chunk| chunk.map_err(std::io::Error::other)).boxed()
}

async fn load(mut call: Call) -> Outcome {
    let body = upload(&mut call);
    stream_progress(&call, call.ports.local.load(body).await?).await
}

/// An operation that fails before it says anything fails with its HTTP status; later, in a line of the stream.
async fn stream_progress(call: &Call, mut progress: ProgressStream) -> Outcome {
    let first = match progress.next().await {
        Some(Err(failure)) => return Err(failure.into()),
        first => first,
    };
    let until = call.shutdown.clone().cancelled_owned();
    let lines = stream::iter(first).chain(progress).take_until(until).map(|item| {
        let line = match item {
            Ok(progress) => write_progress(&progress),
            Err(failure) => {
                let message = failure.to_string();
                json!({ "errorDetail": { "message": message }, "error": message })
            }
        };
        Ok::<_, Infallible>(format!("{line}\r\n"))
    });
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
}

fn write_progress(progress: &Progress) -> Value {
    let detail = Fields::new().opt("current", progress.current).opt("total", progress.total);
    let has_detail = !detail.is_empty();
    let fields = Fields::new()
        .filled("status", progress.status.as_str())
        .filled("id", progress.id.as_str())
        .filled("stream", progress.stream.as_str());
    let fields = if has_detail || !progress.id.is_empty() { fields.set("progressDetail", detail) } else { fields };
    fields.into()
}

async fn tag(call: Call, name: &str) -> Outcome {
    let repo = call.query.text("repo");
    if repo.is_empty() {
        return Err(ApiError::bad("repo: must be given"));
    }
    call.ports.local.tag(name, &reference(repo, call.query.text("tag"))).await?;
    empty(StatusCode::CREATED)
}

async fn remove(call: Call, name: &str) -> Outcome {
    let removed = call.ports.local.remove_image(name, call.query.flag("force")).await?;
    let written = removed.into_iter().map(|removal| match removal {
        ImageRemoval::Untagged(name) => json!({ "Untagged": name }),
        ImageRemoval::Deleted(id) => json!({ "Deleted": id }),
    });
    ok(written.collect::<Vec<_>>())
}

async fn distribution(call: Call, name: &str) -> Outcome {
    let info = call.ports.local.distribution(name, auth(&call)?).await?;
    let platforms = info.platforms.iter().map(|(os, architecture, variant)| {
        Value::from(
            Fields::new()
                .set("architecture", architecture.as_str())
                .set("os", os.as_str())
                .filled("variant", variant.as_str()),
        )
    });
    let descriptor = json!({ "mediaType": info.media_type, "digest": info.digest, "size": info.size_bytes });
    ok(Fields::new().set("Descriptor", descriptor).set("Platforms", platforms.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_tag_make_one_reference() {
        assert_eq!(reference("redis", "7"), "redis:7");
        assert_eq!(reference("redis", ""), "redis:latest");
        assert_eq!(reference("redis:7", ""), "redis:7");
        assert_eq!(reference("localhost:5000/redis", ""), "localhost:5000/redis:latest");
        assert_eq!(reference("redis", "sha256:ab"), "redis@sha256:ab");
    }

    #[test]
    fn a_reference_filter_matches_with_and_without_the_tag() {
        assert!(matches_reference("redis", "redis:7"));
        assert!(matches_reference("redis:*", "redis:7"));
        assert!(matches_reference("localhost:5000/*", "localhost:5000/app:1"));
        assert!(!matches_reference("red", "redis:7"));
    }
}
