//! What differs between the versions of the Engine API.
//!
//! Handlers read and write the newest version; here is what is taken out for an older one, and what it must have
//! besides. A field of a request that its version lacks is left out unread, as Docker does (its routers adjust what they
//! read to the version), and is left out of answers, too. Other fields that came late stay in specifications: a client
//! that reads one, changes it and writes it back would lose them.
//!
//! Sources: the list of changes between versions and the definitions of each.

use crate::error::ApiError;
use crate::version::ApiVersion;
use serde_json::Value;

/// A field, by the path to it (`[]` is each item of a list, `*` each value of an object), and the minor version that
/// brought it.
type Since = (u16, &'static str);

/// API `TaskSpec`.
const TASK_SPEC: &[Since] = &[
    (40, "ContainerSpec.Sysctls"),
    (40, "Placement.MaxReplicas"),
    (41, "ContainerSpec.CapabilityAdd"),
    (41, "ContainerSpec.CapabilityDrop"),
    (41, "ContainerSpec.Ulimits"),
    (41, "Resources.Limits.Pids"),
    (44, "ContainerSpec.Privileges.AppArmor"),
    (44, "ContainerSpec.Privileges.NoNewPrivileges"),
    (44, "ContainerSpec.Privileges.Seccomp"),
    (44, "ContainerSpec.Healthcheck.StartInterval"),
    (46, "ContainerSpec.Mounts[].TmpfsOptions.Options"),
    (46, "ContainerSpec.OomScoreAdj"),
    (52, "Resources.SwapBytes"),
    (52, "Resources.MemorySwappiness"),
];
const SERVICE: &[Since] = &[(41, "JobStatus"), (41, "ServiceStatus")];
const TASK: &[Since] = &[(32, "AssignedGenericResources"), (41, "JobIteration")];
const NODE: &[Since] = &[(30, "Description.TLSInfo"), (32, "Description.Resources.GenericResources")];
const CLUSTER: &[Since] = &[
    (30, "RootRotationInProgress"),
    (30, "TLSInfo"),
    (39, "DefaultAddrPool"),
    (39, "SubnetSize"),
    (40, "DataPathPort"),
];
const CONTENT: &[Since] = &[(37, "Spec.Templating")];
const NETWORK: &[Since] = &[(48, "EnableIPv4"), (52, "Status")];
const VOLUME: &[Since] = &[(31, "CreatedAt")];
const VERSION: &[Since] = &[(25, "MinAPIVersion"), (35, "Components"), (35, "Platform")];
const INFO: &[Since] = &[
    (39, "Warnings"),
    (40, "PidsLimit"),
    (41, "CgroupVersion"),
    (41, "DefaultAddressPools"),
    (41, "OSVersion"),
    (44, "CDISpecDirs"),
    (44, "Runtimes.*.status"),
    (46, "Containerd"),
    (49, "FirewallBackend"),
    (50, "DiscoveredDevices"),
    (53, "NRI"),
];
/// The settings of a new swarm (API `SwarmInitRequest`).
const INIT: &[Since] = &[(39, "DefaultAddrPool"), (39, "SubnetSize"), (40, "DataPathPort")];
const NETWORK_CREATE: &[Since] = &[(48, "EnableIPv4")];

/// Jobs came with this version. Left out, another service would run than was asked for.
const JOBS: u16 = 41;
/// As for jobs: content would be handed out with its template unfilled.
const TEMPLATING: u16 = 37;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    ServiceSpec,
    Init,
    NetworkCreate,
    /// API `SecretSpec` and `ConfigSpec`.
    Content,
}

/// What is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Service,
    Task,
    Node,
    /// API `Swarm`.
    Cluster,
    /// API `Secret` and `Config`.
    Content,
    Network,
    Volume,
    Version,
    Info,
    ImageSummary,
    /// API `ImageInspect`.
    Image,
}

impl ApiVersion {
    /// Whether this is 1.`minor` or newer.
    pub fn has(self, minor: u16) -> bool {
        self >= ApiVersion { major: 1, minor }
    }
}

/// Leaves out of a request's body what its version lacks. Refused where the rest would mean something else.
pub fn read(version: ApiVersion, request: Request, body: &mut Value) -> Result<(), ApiError> {
    match request {
        Request::ServiceSpec => {
            for mode in ["ReplicatedJob", "GlobalJob"] {
                let asked = field(body, "Mode").and_then(|modes| field(modes, mode)).is_some_and(|job| !job.is_null());
                if asked && !version.has(JOBS) {
                    return Err(ApiError::bad(format!(
                        "Mode.{mode}: not in API version {version}, use 1.{JOBS} or newer"
                    )));
                }
            }
            strip(version, TASK_SPEC, "TaskTemplate", body);
        }
        Request::Init => strip(version, INIT, "", body),
        Request::NetworkCreate => strip(version, NETWORK_CREATE, "", body),
        Request::Content => {
            let asked = field(body, "Templating").is_some_and(|templating| !templating.is_null());
            if asked && !version.has(TEMPLATING) {
                let words = format!("Templating: not in API version {version}, use 1.{TEMPLATING} or newer");
                return Err(ApiError::bad(words));
            }
        }
    }
    Ok(())
}

/// Whether an answer of this version is as it is written.
pub fn is_newest(version: ApiVersion, answer: Answer) -> bool {
    let lacks = |rows: &[Since]| rows.iter().any(|(minor, _)| !version.has(*minor));
    match answer {
        Answer::Service | Answer::Task => !lacks(rows(answer)) && !lacks(TASK_SPEC),
        Answer::ImageSummary => version.has(51),
        // Newer ones leave out what is empty.
        Answer::Image => false,
        Answer::Node
        | Answer::Cluster
        | Answer::Content
        | Answer::Network
        | Answer::Volume
        | Answer::Version
        | Answer::Info => !lacks(rows(answer)),
    }
}

fn rows(answer: Answer) -> &'static [Since] {
    match answer {
        Answer::Service => SERVICE,
        Answer::Task => TASK,
        Answer::Node => NODE,
        Answer::Cluster => CLUSTER,
        Answer::Content => CONTENT,
        Answer::Network => NETWORK,
        Answer::Volume => VOLUME,
        Answer::Version => VERSION,
        Answer::Info => INFO,
        Answer::ImageSummary | Answer::Image => &[],
    }
}

/// Makes of an object that was written one of this version.
pub fn write(version: ApiVersion, answer: Answer, mut object: Value) -> Value {
    strip(version, rows(answer), "", &mut object);
    match answer {
        Answer::Service => {
            strip(version, TASK_SPEC, "Spec.TaskTemplate", &mut object);
            strip(version, TASK_SPEC, "PreviousSpec.TaskTemplate", &mut object);
        }
        Answer::Task => strip(version, TASK_SPEC, "Spec", &mut object),
        Answer::Info => info(version, &mut object),
        Answer::ImageSummary => image_summary(version, &mut object),
        Answer::Image => image(version, &mut object),
        Answer::Node | Answer::Cluster | Answer::Content | Answer::Network | Answer::Volume | Answer::Version => {}
    }
    object
}

fn info(version: ApiVersion, object: &mut Value) {
    strip(version, CLUSTER, "Swarm.Cluster", object);
    if !version.has(50) {
        object["BridgeNfIptables"] = Value::Bool(false);
        object["BridgeNfIp6tables"] = Value::Bool(false);
    }
    if !version.has(49) {
        for name in ["AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames"] {
            object["RegistryConfig"][name] = Value::Array(Vec::new());
        }
        for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            object[name]["Expected"] = object[name]["ID"].clone();
        }
    }
}

fn image_summary(version: ApiVersion, object: &mut Value) {
    if !version.has(51) {
        object["Containers"] = Value::from(-1);
    }
    if !version.has(44) {
        object["VirtualSize"] = object["Size"].clone();
    }
    if !version.has(43) {
        for (name, untagged) in [("RepoTags", "<none>:<none>"), ("RepoDigests", "<none>@<none>")] {
            if object[name].as_array().is_none_or(Vec::is_empty) {
                object[name] = Value::from(vec![untagged]);
            }
        }
    }
}

fn image(version: ApiVersion, object: &mut Value) {
    if version.has(52) {
        for name in ["Parent", "Comment", "DockerVersion", "Author"] {
            if object[name] == "" {
                remove(object, &[name]);
            }
        }
    }
    if !version.has(50) {
        for name in ["Hostname", "Domainname", "Image"] {
            object["Config"][name] = Value::from("");
        }
        for name in ["AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"] {
            object["Config"][name] = Value::Bool(false);
        }
    }
    if !version.has(45) {
        object["Container"] = Value::from("");
        object["ContainerConfig"] = object["Config"].clone();
    }
    if !version.has(44) {
        object["VirtualSize"] = object["Size"].clone();
    }
}

/// Takes out the fields below `prefix` that came after `version`.
fn strip(version: ApiVersion, rows: &[Since], prefix: &str, object: &mut Value) {
    for (minor, path) in rows {
        if !version.has(*minor) {
            let whole: Vec<&str> = prefix.split('.').filter(|part| !part.is_empty()).chain(path.split('.')).collect();
            remove(object, &whole);
        }
    }
}

fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Names match without regard to case, as everywhere in requests.
fn remove(object: &mut Value, path: &[&str]) {
    let (Some((first, rest)), Some(fields)) = (path.split_first(), object.as_object_mut()) else { return };
    let (name, is_list) = first.strip_suffix("[]").map_or((*first, false), |name| (name, true));
    let is_meant = |key: &str| name == "*" || key.eq_ignore_ascii_case(name);
    if rest.is_empty() {
        return fields.retain(|key, _| !is_meant(key));
    }
    for (_, value) in fields.iter_mut().filter(|(key, _)| is_meant(key)) {
        if is_list {
            value.as_array_mut().into_iter().flatten().for_each(|item| remove(item, rest));
        } else {
            remove(value, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(minor: u16) -> ApiVersion {
        ApiVersion { major: 1, minor }
    }

    /// An object that has the fields of all rows, and beside each an older one.
    fn whole(rows: &[Since], prefix: &str) -> Value {
        let mut object = json!({ "Old": 1 });
        for (_, path) in rows {
            let mut place = &mut object;
            for part in prefix.split('.').filter(|part| !part.is_empty()).chain(path.split('.')) {
                let name = part.trim_end_matches("[]").replace('*', "any");
                if place.get(&name).is_none() {
                    let new = json!({ "Old": 1 });
                    place[&name] = if part.ends_with("[]") { json!([new]) } else { new };
                }
                place = &mut place[&name];
                if part.ends_with("[]") {
                    place = &mut place[0];
                }
            }
        }
        object
    }

    fn has(object: &Value, path: &str) -> bool {
        let mut place = object;
        for part in path.split('.').filter(|part| !part.is_empty()) {
            place = &place[part.trim_end_matches("[]").replace('*', "any")];
            if part.ends_with("[]") {
                place = &place[0];
            }
        }
        !place.is_null()
    }

    #[test]
    fn each_field_is_answered_with_from_its_version_on() {
        let answers = [
            (Answer::Service, ""),
            (Answer::Task, ""),
            (Answer::Node, ""),
            (Answer::Cluster, ""),
            (Answer::Content, ""),
            (Answer::Network, ""),
            (Answer::Volume, ""),
            (Answer::Version, ""),
            (Answer::Info, ""),
        ];
        let specs = [
            (Answer::Service, "Spec.TaskTemplate"),
            (Answer::Service, "PreviousSpec.TaskTemplate"),
            (Answer::Task, "Spec"),
        ];
        let own = answers.map(|(answer, prefix)| (answer, prefix, rows(answer)));
        let specs = specs.map(|(answer, prefix)| (answer, prefix, TASK_SPEC));
        for (answer, prefix, rows) in own.into_iter().chain(specs) {
            for minor in 24..=ApiVersion::MAX.minor {
                let written = write(at(minor), answer, whole(rows, prefix));
                for (since, path) in rows {
                    let path = format!("{prefix}.{path}");
                    assert_eq!(has(&written, &path), minor >= *since, "1.{minor} {answer:?} {path}");
                }
                assert!(has(&written, "Old"), "1.{minor} {answer:?}");
            }
        }
    }

    #[test]
    fn each_field_is_read_from_its_version_on() {
        let requests = [
            (Request::ServiceSpec, "TaskTemplate", TASK_SPEC),
            (Request::Init, "", INIT),
            (Request::NetworkCreate, "", NETWORK_CREATE),
        ];
        for (request, prefix, rows) in requests {
            for minor in 24..=ApiVersion::MAX.minor {
                let mut body = whole(rows, prefix);
                read(at(minor), request, &mut body).unwrap();
                for (since, path) in rows {
                    let path = format!("{prefix}.{path}");
                    assert_eq!(has(&body, &path), minor >= *since, "1.{minor} {request:?} {path}");
                }
            }
        }
    }

    #[test]
    fn names_of_a_request_match_without_regard_to_case() {
        let mut body = json!({ "tasktemplate": { "containerspec": { "sysctls": { "a": "1" }, "image": "x" } } });
        read(at(39), Request::ServiceSpec, &mut body).unwrap();
        assert_eq!(body, json!({ "tasktemplate": { "containerspec": { "image": "x" } } }));
    }

    #[test]
    fn what_would_mean_something_else_without_a_field_is_refused() {
        let mut job = json!({ "Mode": { "ReplicatedJob": {} } });
        let refused = read(at(40), Request::ServiceSpec, &mut job).unwrap_err();
        assert_eq!(refused.message, "Mode.ReplicatedJob: not in API version 1.40, use 1.41 or newer");
        read(at(41), Request::ServiceSpec, &mut job).unwrap();
        let mut content = json!({ "Name": "a", "Templating": { "Name": "golang" } });
        let refused = read(at(36), Request::Content, &mut content).unwrap_err();
        assert_eq!(refused.message, "Templating: not in API version 1.36, use 1.37 or newer");
        read(at(36), Request::Content, &mut json!({ "Name": "a", "Templating": null })).unwrap();
    }

    #[test]
    fn images_have_what_their_version_has() {
        let listed =
            |minor| write(at(minor), Answer::ImageSummary, json!({ "Size": 7, "Containers": 2, "RepoTags": [] }));
        let oldest = json!({ "Size": 7, "Containers": -1, "VirtualSize": 7, "RepoTags": ["<none>:<none>"],
            "RepoDigests": ["<none>@<none>"] });
        assert_eq!(listed(42), oldest);
        assert_eq!(listed(43)["RepoTags"], json!([]));
        assert_eq!(listed(50), json!({ "Size": 7, "Containers": -1, "RepoTags": [] }));
        assert_eq!(listed(51)["Containers"], 2);
        let shown =
            |minor| write(at(minor), Answer::Image, json!({ "Size": 7, "Author": "", "Parent": "p", "Config": {} }));
        assert_eq!(shown(52), json!({ "Size": 7, "Parent": "p", "Config": {} }));
        assert_eq!(shown(51)["Author"], "");
        assert_eq!(shown(49)["Config"]["Tty"], false);
        assert!(shown(44).get("ContainerConfig").is_some() && shown(45).get("ContainerConfig").is_none());
        assert_eq!((&shown(43)["VirtualSize"], shown(44).get("VirtualSize")), (&json!(7), None));
    }

    #[test]
    fn older_versions_of_info_have_what_was_taken_out_since() {
        let info = |minor| write(at(minor), Answer::Info, json!({ "RuncCommit": { "ID": "a" }, "RegistryConfig": {} }));
        assert_eq!(info(48)["RuncCommit"], json!({ "ID": "a", "Expected": "a" }));
        assert_eq!(info(49)["RuncCommit"], json!({ "ID": "a" }));
        assert_eq!(info(49)["BridgeNfIptables"], false);
        assert!(info(50).get("BridgeNfIptables").is_none());
        assert!(info(48)["RegistryConfig"].get("AllowNondistributableArtifactsCIDRs").is_some());
    }
}
