//! The Go names and types behind the objects of the API: what `inspect -f '{{.ID}}'` reaches.

use crate::units::{go_duration, go_time};
use std::sync::LazyLock;
use swarm_core::template::{Type, Types};

/// The table. A fault in it is ours: the test below keeps it from happening.
pub static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let empty = || Types::parse("", go_duration, go_time);
    Types::parse(include_str!("types.txt"), go_duration, go_time)
        .or_else(|_| empty())
        .unwrap_or_else(|_| unreachable!("no line is wrong"))
});

/// What an object is, for Go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    Config,
    Container,
    Event,
    Image,
    Info,
    Network,
    Node,
    Secret,
    Service,
    Task,
    Version,
    Volume,
}

impl Object {
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "swarm.Config",
            Self::Container => "container.InspectResponse",
            Self::Event => "events.Message",
            Self::Image => "image.InspectResponse",
            Self::Info => "system.dockerInfo",
            Self::Network => "network.Inspect",
            Self::Node => "swarm.Node",
            Self::Secret => "swarm.Secret",
            Self::Service => "swarm.Service",
            Self::Task => "swarm.Task",
            Self::Version => "system.versionInfo",
            Self::Volume => "volume.Volume",
        }
    }

    /// Its type; none only when the table lacks it, and then the JSON counts alone.
    pub fn of(self) -> Option<Type> {
        TYPES.named(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_understood_and_has_every_type_it_names() {
        let parsed = Types::parse(include_str!("types.txt"), go_duration, go_time);
        assert_eq!(parsed.map(|types| types.unknown()), Ok(Vec::new()));
        use Object as O;
        for object in [
            O::Config,
            O::Container,
            O::Event,
            O::Image,
            O::Info,
            O::Network,
            O::Node,
            O::Secret,
            O::Service,
            O::Task,
            O::Version,
            O::Volume,
        ] {
            assert!(object.of().is_some(), "{object:?}");
        }
    }
}
