//! The published types of one version, where the definitions are absent.

use super::super::client::Answer;
use axum::http::Method;
use bollard_stubs::models as stubs;
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned>(answer: &Answer) -> Vec<String> {
    serde_json::from_slice::<T>(&answer.body).err().map(|error| error.to_string()).into_iter().collect()
}

pub fn faults(method: &Method, path: &str, answer: &Answer) -> Vec<String> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["services"]) => read::<Vec<stubs::Service>>(answer),
        ("GET", ["services", _]) => read::<stubs::Service>(answer),
        ("POST", ["services", "create"]) => read::<stubs::ServiceCreateResponse>(answer),
        ("POST", ["services", _, "update"]) => read::<stubs::ServiceUpdateResponse>(answer),
        ("GET", ["tasks"]) => read::<Vec<stubs::Task>>(answer),
        ("GET", ["tasks", _]) => read::<stubs::Task>(answer),
        ("GET", ["nodes"]) => read::<Vec<stubs::Node>>(answer),
        ("GET", ["nodes", _]) => read::<stubs::Node>(answer),
        ("GET", ["secrets"]) => read::<Vec<stubs::Secret>>(answer),
        ("GET", ["secrets", _]) => read::<stubs::Secret>(answer),
        ("GET", ["configs"]) => read::<Vec<stubs::Config>>(answer),
        ("GET", ["configs", _]) => read::<stubs::Config>(answer),
        ("GET", ["networks"]) => read::<Vec<stubs::NetworkSummary>>(answer),
        ("GET", ["networks", _]) => read::<stubs::NetworkInspect>(answer),
        ("GET", ["volumes"]) => read::<stubs::VolumeListResponse>(answer),
        ("GET", ["volumes", _]) | ("POST", ["volumes", "create"]) => read::<stubs::Volume>(answer),
        ("GET", ["images", "json"]) => read::<Vec<stubs::ImageSummary>>(answer),
        ("GET", ["images", .., "json"]) => read::<stubs::ImageInspect>(answer),
        ("GET", ["images", .., "history"]) => read::<Vec<stubs::ImageHistoryResponseItem>>(answer),
        ("GET", ["containers", "json"]) => read::<Vec<stubs::ContainerSummary>>(answer),
        ("GET", ["containers", _, "json"]) => read::<stubs::ContainerInspectResponse>(answer),
        ("GET", ["info"]) => read::<stubs::SystemInfo>(answer),
        ("GET", ["version"]) => read::<stubs::SystemVersion>(answer),
        ("GET", ["swarm"]) => read::<stubs::Swarm>(answer),
        _ => Vec::new(),
    }
}
