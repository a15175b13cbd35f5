//! Services, both ways.

mod extension;
mod read;
mod write;

pub use extension::keep_extension;
pub use read::{ServiceReading, read_service_spec};
pub use write::{write_service, write_service_spec, write_spec_contents, write_task_spec};

use swarm_core::model::{FailureAction, Protocol, PublishMode, RestartCondition, UpdateOrder};

pub(super) const PROTOCOLS: [(&str, Protocol); 3] =
    [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];

pub(super) const PUBLISH_MODES: [(&str, PublishMode); 2] =
    [("ingress", PublishMode::Ingress), ("host", PublishMode::Host)];

const FAILURE_ACTIONS: [(&str, FailureAction); 3] =
    [("pause", FailureAction::Pause), ("continue", FailureAction::Continue), ("rollback", FailureAction::Rollback)];

const ORDERS: [(&str, UpdateOrder); 2] =
    [("stop-first", UpdateOrder::StopFirst), ("start-first", UpdateOrder::StartFirst)];

const CONDITIONS: [(&str, RestartCondition); 3] =
    [("any", RestartCondition::Any), ("on-failure", RestartCondition::OnFailure), ("none", RestartCondition::None)];

/// The API's word of a value.
pub(super) fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}
