//! What a task asks of a node, parsed once per task.

use crate::constraint::{Constraint, architecture};
use crate::model::{Node, Placement, Platform, PortConfig, Resources, Task};

/// A label a service is to be spread over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpreadKey {
    NodeLabel(String),
    EngineLabel(String),
}

impl SpreadKey {
    /// From the API's descriptor, `node.labels.<label>` or `engine.labels.<label>`. `node.id` groups no nodes: it is none.
    fn parse(text: &str) -> Option<Self> {
        let label = |prefix: &str| text.strip_prefix(prefix).map(str::to_owned);
        label("node.labels.").map(Self::NodeLabel).or_else(|| label("engine.labels.").map(Self::EngineLabel))
    }

    /// The node's value; nodes without the label count as having the empty one.
    pub(super) fn value<'a>(&self, node: &'a Node) -> &'a str {
        let value = match self {
            Self::NodeLabel(label) => node.spec.labels.get(label),
            Self::EngineLabel(label) => node.description.as_ref().and_then(|d| d.engine_labels.get(label)),
        };
        value.map_or("", String::as_str)
    }
}

/// What a task asks of a node.
pub struct Demand<'a> {
    pub(super) task: &'a Task,
    pub(super) constraints: Vec<Constraint>,
    pub(super) spread: Vec<SpreadKey>,
    /// Nodes that are fuller come first.
    pub(super) packs: bool,
}

impl<'a> Demand<'a> {
    /// Fails with the words for the task when a constraint is none. A task that reserves neither CPU nor memory could
    /// be packed without end: it is spread, whatever the cluster does with others.
    pub fn of(task: &'a Task, binpack: bool) -> Result<Self, String> {
        let placement = &task.spec.placement;
        let constraints = Constraint::parse_all(&placement.constraints).map_err(|error| error.to_string())?;
        let spread = placement.spread.iter().filter_map(|text| SpreadKey::parse(text)).collect();
        let reserved = &task.spec.resources.reservations;
        let packs = binpack && (reserved.nano_cpus > 0 || reserved.memory_bytes > 0);
        Ok(Self { task, constraints, spread, packs })
    }

    pub(super) fn reservations(&self) -> &'a Resources {
        &self.task.spec.resources.reservations
    }

    pub(super) fn host_ports(&self) -> &'a [PortConfig] {
        &self.task.host_ports
    }

    pub(super) fn platforms(&self) -> &'a [Platform] {
        &self.task.spec.placement.platforms
    }
}

/// The node's values of the labels that a service placed so is spread over.
pub fn spread_path(placement: &Placement, node: &Node) -> Vec<String> {
    let keys = placement.spread.iter().filter_map(|text| SpreadKey::parse(text));
    keys.map(|key| key.value(node).to_owned()).collect()
}

/// Whether the node is of one of the platforms; none listed is any, an empty part is any.
pub(super) fn platform_matches(platforms: &[Platform], node: &Node) -> bool {
    let Some(description) = &node.description else {
        return platforms.is_empty();
    };
    let os = |wanted: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(&description.platform.os);
    let arch =
        |wanted: &str| wanted.is_empty() || architecture(wanted) == architecture(&description.platform.architecture);
    platforms.is_empty() || platforms.iter().any(|p| os(&p.os) && arch(&p.architecture))
}

/// Whether a task placed by `placement` belongs on `node` at all, whatever else runs there. A
/// constraint that does not parse is left to the scheduler to report: nothing is moved because of it.
pub fn fits(placement: &Placement, node: &Node) -> bool {
    let constraints = Constraint::parse_all(&placement.constraints).unwrap_or_default();
    constraints.iter().all(|constraint| constraint.matches(node)) && platform_matches(&placement.platforms, node)
}
