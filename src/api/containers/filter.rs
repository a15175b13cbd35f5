//! Which containers a list has (API `ContainerList`, "filters").

use super::{find, protocol_word, state_word};
use crate::call::Call;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::ports::{ContainerRecord, ContainerState, Failure};
use regex::{Regex, RegexBuilder};
use swarm_core::model::PortConfig;

/// `node` is beyond the API: an id or a name.
pub const FILTERS: [&str; 16] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "node",
    "publish",
    "since",
    "status",
    "volume",
];
/// Bytes that a pattern may take once compiled: names have 64 characters, and patterns come from anybody.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// Ports of one protocol, or of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    first: u16,
    last: u16,
    protocol: Option<&'static str>,
}

impl Ports {
    /// `80`, `80/udp`, `8000-8080/tcp`.
    fn parse(key: &str, text: &str) -> Result<Self, ApiError> {
        let wrong = || ApiError::bad(format!("invalid filter '{key}={text}'"));
        let (range, protocol) = match text.split_once('/') {
            None => (text, None),
            Some((range, word)) => {
                let known = ["tcp", "udp", "sctp"].into_iter().find(|known| *known == word);
                (range, Some(known.ok_or_else(wrong)?))
            }
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        let ports = Self { first: number(first)?, last: number(last)?, protocol };
        if ports.first > ports.last { Err(wrong()) } else { Ok(ports) }
    }

    fn has(&self, port: u16, protocol: &str) -> bool {
        (self.first..=self.last).contains(&port) && self.protocol.is_none_or(|own| own == protocol)
    }
}

/// An image asked for, by its name and, when it is here, by its id.
struct Ancestor {
    name: String,
    id: Option<String>,
}

impl Ancestor {
    fn made(&self, container: &ContainerRecord) -> bool {
        let tagged = |name: &str| if name.contains(['@', ':']) { name.to_owned() } else { format!("{name}:latest") };
        self.id.as_ref().is_some_and(|id| *id == container.image_id)
            || container.image == self.name
            || container.image_id == self.name
            || tagged(&container.image) == tagged(&self.name)
    }
}

/// What a list is asked for, names in it looked up.
pub struct Wanted {
    filters: Filters,
    all: bool,
    is_task: Option<bool>,
    names: Vec<Regex>,
    ids: Vec<Regex>,
    before_ns: Option<i64>,
    since_ns: Option<i64>,
    ancestors: Vec<Ancestor>,
    published: Vec<Ports>,
    exposed: Vec<Ports>,
}

impl Wanted {
    /// Looks up what the filters name. A container or a pattern in them that makes no sense is an error.
    pub async fn read(call: &Call, filters: Filters, limit: Option<usize>) -> Result<Self, ApiError> {
        filters.words("status", &["created", "running", "paused", "restarting", "removing", "exited", "dead"])?;
        filters.words("health", &["none", "starting", "healthy", "unhealthy"])?;
        filters.words("isolation", &["", "default", "process", "hyperv"])?;
        if let Some(code) = filters.values("exited").iter().find(|code| code.parse::<i64>().is_err()) {
            return Err(ApiError::bad(format!("invalid filter 'exited={code}'")));
        }
        let asked_for = ["before", "exited", "since", "status"].iter().any(|key| !filters.values(key).is_empty());
        let mut ancestors = Vec::new();
        for name in filters.values("ancestor") {
            let id = match call.ports.local.image(name).await {
                Ok(image) => Some(image.id),
                // It may be of a container whose image is gone, or is no name of an image at all.
                Err(Failure::NotFound(_) | Failure::Invalid(_)) => None,
                Err(failure) => return Err(failure.into()),
            };
            ancestors.push(Ancestor { name: name.clone(), id });
        }
        Ok(Self {
            all: call.query.flag("all") || limit.is_some() || asked_for,
            is_task: filters.flag("is-task")?,
            names: patterns(&filters, "name")?,
            ids: patterns(&filters, "id")?,
            before_ns: made_at(call, &filters, "before").await?,
            since_ns: made_at(call, &filters, "since").await?,
            ancestors,
            published: ports(&filters, "publish")?,
            exposed: ports(&filters, "expose")?,
            filters,
        })
    }

    /// Whether also those are asked for that do not run.
    pub fn all(&self) -> bool {
        self.all
    }

    /// Only containers made before the one time and after the other, nanoseconds since 1970.
    pub fn made_between(&mut self, since_ns: Option<i64>, before_ns: Option<i64>) {
        (self.since_ns, self.before_ns) = (since_ns, before_ns);
    }

    pub fn matches(&self, container: &ContainerRecord) -> bool {
        let filters = &self.filters;
        let one_of = |patterns: &[Regex], texts: &[&str]| {
            patterns.is_empty() || patterns.iter().any(|pattern| texts.iter().any(|text| pattern.is_match(text)))
        };
        let with_slash = format!("/{}", container.name);
        (self.all || matches!(container.state, ContainerState::Running | ContainerState::Paused))
            && one_of(&self.ids, &[&container.id])
            && one_of(&self.names, &[&container.name, &with_slash])
            && self.is_task.is_none_or(|wanted| container.task.is_some() == wanted)
            && self.before_ns.is_none_or(|at| container.created_ns < at)
            && self.since_ns.is_none_or(|at| container.created_ns > at)
            && (self.ancestors.is_empty() || self.ancestors.iter().any(|ancestor| ancestor.made(container)))
            && self.has_ports(container)
            && filters.any("status", |status| state_word(container.state) == status)
            && filters.any("health", |health| container.health.as_str() == health)
            && filters.any("isolation", |isolation| matches!(isolation, "" | "default"))
            && filters.any("exited", |code| {
                container.state == ContainerState::Exited && container.exit_code.to_string() == code
            })
            && filters.any("network", |network| container.networks.iter().any(|n| n.name == network || n.id == network))
            && filters.any("volume", |volume| {
                container.mounts.iter().any(|mount| mount.name == volume || mount.destination == volume)
            })
            && filters.labels("label", &container.labels)
    }

    fn has_ports(&self, container: &ContainerRecord) -> bool {
        let published = |ports: &Ports| {
            let has = |port: &PortConfig| ports.has(port.published_port, protocol_word(port));
            container.ports.iter().any(has)
        };
        let exposed = |ports: &Ports| {
            let of_image = container.exposed.iter().filter_map(|text| {
                let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
                Some((port.parse().ok()?, protocol))
            });
            let of_service = container.ports.iter().map(|port| (port.target_port, protocol_word(port)));
            of_image.chain(of_service).any(|(port, protocol)| ports.has(port, protocol))
        };
        (self.published.is_empty() || self.published.iter().any(published))
            && (self.exposed.is_empty() || self.exposed.iter().any(exposed))
    }
}

fn patterns(filters: &Filters, key: &str) -> Result<Vec<Regex>, ApiError> {
    let compiled = filters.values(key).iter().map(|text| {
        let pattern = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
        pattern.map_err(|error| ApiError::bad(format!("invalid filter '{key}={text}': {error}")))
    });
    compiled.collect()
}

fn ports(filters: &Filters, key: &str) -> Result<Vec<Ports>, ApiError> {
    filters.values(key).iter().map(|text| Ports::parse(key, text)).collect()
}

/// When the container that a filter names was made.
async fn made_at(call: &Call, filters: &Filters, key: &str) -> Result<Option<i64>, ApiError> {
    match filters.values(key) {
        [] => Ok(None),
        [name] => Ok(Some(find(call, name).await?.created_ns)),
        _ => Err(ApiError::bad(format!("invalid filter '{key}': it takes one container"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_range_of_one_protocol_or_any() {
        let parse = |text| Ports::parse("publish", text);
        assert!(parse("80").is_ok_and(|ports| ports.has(80, "udp") && !ports.has(81, "udp")));
        assert!(parse("8000-8080/tcp").is_ok_and(|ports| ports.has(8080, "tcp") && !ports.has(8080, "udp")));
        for wrong in ["", "80/x", "9-8", "65536", "a-b"] {
            assert_eq!(parse(wrong).map_err(|error| error.message), Err(format!("invalid filter 'publish={wrong}'")));
        }
    }

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        let container =
            ContainerRecord { image: "web:latest".into(), image_id: "sha256:1".into(), ..Default::default() };
        let made =
            |name: &str, id: Option<&str>| Ancestor { name: name.into(), id: id.map(str::to_owned) }.made(&container);
        assert!(made("web", None) && made("web:latest", None) && made("sha256:1", None) && made("x", Some("sha256:1")));
        assert!(!made("web:2", None) && !made("we", None) && !made("x", Some("sha256:2")));
    }
}
