//! Whatever is committed: each node is told of what it has by differences as it would be by the whole.

use super::tests::{node, task};
use super::*;
use crate::SecretId;
use crate::fabric::FabricState;
use crate::model::*;
use crate::store::{Object, ObjectRef, Store, Txn};
use proptest::prelude::*;
use std::sync::Arc;

const NODES: u128 = 3;
const SECRET: SecretId = SecretId(7);

#[derive(Clone, Debug)]
enum Op {
    /// A task with a content of the secret, or none.
    Task {
        id: u128,
        on: u128,
        version: Option<u64>,
    },
    Status {
        id: u128,
        state: TaskState,
    },
    Stop {
        id: u128,
    },
    Forget {
        id: u128,
    },
    Content,
    Drop {
        version: u64,
    },
    Leave {
        id: u128,
    },
    Join {
        id: u128,
    },
    Gossip {
        id: u128,
        up: bool,
    },
    /// Nothing that concerns tasks.
    Label {
        id: u128,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let (id, on) = (|| 1u128..12, || 1..=NODES);
    let state = prop_oneof![Just(TaskState::Running), Just(TaskState::Failed), Just(TaskState::Ready)];
    prop_oneof![
        4 => (id(), on(), proptest::option::of(1u64..4)).prop_map(|(id, on, version)| Op::Task { id, on, version }),
        3 => (id(), state).prop_map(|(id, state)| Op::Status { id, state }),
        2 => id().prop_map(|id| Op::Stop { id }),
        1 => id().prop_map(|id| Op::Forget { id }),
        2 => Just(Op::Content),
        1 => (1u64..4).prop_map(|version| Op::Drop { version }),
        1 => on().prop_map(|id| Op::Leave { id }),
        2 => on().prop_map(|id| Op::Join { id }),
        1 => (on(), any::<bool>()).prop_map(|(id, up)| Op::Gossip { id, up }),
        1 => on().prop_map(|id| Op::Label { id }),
    ]
}

fn with_secret(id: u128, on: u128, version: Option<u64>) -> Object {
    let Object::Task(task) = task(id, NodeId(on)) else { unreachable!("a task") };
    let mut task = (*task).clone();
    task.attachments = vec![TaskAttachment {
        network: crate::NetworkId(1),
        addr: std::net::IpAddr::from([10, 0, 0, u8::try_from(id).unwrap()]),
        aliases: Vec::new(),
    }];
    let file = FileTarget { name: "key".into(), uid: "0".into(), gid: "0".into(), mode: 0o400 };
    let reference = |version| SecretReference { id: SECRET, name: "key".into(), file, version };
    Arc::make_mut(&mut task.spec).container.secrets = version.map(reference).into_iter().collect();
    Object::Task(Arc::new(task))
}

fn secret() -> Object {
    let data = crate::Sensitive::new(vec![0]);
    let spec = SecretSpec { name: "key".into(), labels: Labels::new(), data, templated: false };
    Object::Secret(Arc::new(Secret { id: SECRET, meta: Meta::default(), spec, content_version: 1, older: Vec::new() }))
}

fn ingress() -> Object {
    let spec = NetworkSpec { name: "ingress".into(), ingress: true, ..NetworkSpec::default() };
    let allocation = NetworkAllocation {
        subnet: "10.0.0.0/24".parse().unwrap(),
        gateway: "10.0.0.1".parse().unwrap(),
        overlay_id: 9,
    };
    let id = crate::NetworkId(1);
    let (allocation, pending_reason, removing) = (Some(allocation), String::new(), false);
    Object::Network(Arc::new(Network { id, meta: Meta::default(), spec, allocation, pending_reason, removing }))
}

/// The change, if it makes sense now.
fn change(view: &View, op: &Op) -> Option<Change> {
    let is_there = |id: u128| view.node(NodeId(id)).is_some();
    Some(match op {
        Op::Task { id, on, version } if view.task(TaskId(*id)).is_none() => {
            Change::Create(with_secret(*id, *on, *version))
        }
        Op::Status { id, state } => {
            Change::TaskStatus { task: TaskId(*id), status: TaskStatus { state: *state, ..TaskStatus::default() } }
        }
        Op::Stop { id } => Change::TaskDesired { task: TaskId(*id), desired: TaskState::Shutdown },
        Op::Forget { id } => Change::Delete(ObjectRef::Task(TaskId(*id))),
        Op::Content => {
            let mut spec = view.secret(SECRET)?.spec.clone();
            spec.data = crate::Sensitive::new(view.index().to_be_bytes().to_vec());
            Change::SecretSpec { secret: SECRET, spec }
        }
        Op::Drop { version } => Change::ContentDropped { content: ContentId::Secret(SECRET), version: *version },
        Op::Leave { id } => Change::Delete(ObjectRef::Node(NodeId(*id))),
        Op::Join { id } if !is_there(*id) => Change::Create(node(NodeId(*id))),
        Op::Label { id } if is_there(*id) => {
            let mut node = (**view.node(NodeId(*id))?).clone();
            node.spec.labels.insert("written".into(), view.index().to_string());
            Change::Replace(Object::from(node))
        }
        Op::Task { .. } | Op::Join { .. } | Op::Label { .. } | Op::Gossip { .. } => return None,
    })
}

/// What a node holds that did as it was told.
#[derive(Debug, Default, PartialEq)]
struct Told {
    tasks: BTreeMap<TaskId, TaskState>,
    secrets: BTreeSet<(SecretId, u64)>,
    fabric: FabricState,
}

impl Told {
    fn take(&mut self, all: Assignments) {
        if all.complete {
            (self.tasks, self.secrets) = Default::default();
        }
        self.tasks.retain(|id, _| !all.removed_tasks.contains(id));
        self.secrets.retain(|secret| !all.removed_secrets.contains(secret));
        self.tasks.extend(all.tasks.iter().map(|task| (task.id, task.desired)));
        self.secrets.extend(all.secrets.iter().map(|secret| (secret.id, secret.content_version)));
        if let Some(delta) = all.fabric {
            self.fabric.apply_delta(delta).expect("the base it has");
            self.fabric.index = 0;
        }
    }
}

fn whole(view: &View, node: NodeId) -> Told {
    let mut told = Told::default();
    told.take(NodeWork::new(node).whole(view));
    told
}

struct Run {
    store: Store,
    dispatch: Dispatch,
    told: BTreeMap<SessionId, (NodeId, Told)>,
    sessions: u64,
}

impl Run {
    fn give(&mut self, input: Input) {
        let mut out = Effects::default();
        self.dispatch.input(Mono(0), WallTime(9), input, &mut out);
        for (session, message) in out.sends {
            match (message, self.told.get_mut(&session)) {
                (Message::Assign(mut all), Some((_, told))) => {
                    // Indexes of the state held are not compared.
                    if let Some(delta) = &mut all.fabric {
                        delta.base = 0;
                    }
                    told.take(all);
                }
                (Message::End { .. }, _) => drop(self.told.remove(&session)),
                _ => {}
            }
        }
        if let Some(changes) = out.write {
            self.commit(changes);
            self.give(Input::Written { committed: true });
        }
    }

    fn commit(&mut self, changes: Vec<Change>) {
        let index = self.store.view().index() + 1;
        if self.store.apply(index, 1, &Txn { changes, ..Txn::default() }).is_ok() {
            self.give(Input::Committed(self.store.view()));
        }
    }

    fn open(&mut self, id: NodeId) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.told.retain(|_, (node, _)| *node != id);
        self.told.insert(session, (id, Told::default()));
        let addr = "192.0.2.1".parse().expect("address");
        self.give(Input::Opened { session, node: id, addr, description: NodeDescription::default() });
    }
}

proptest! {
    #[test]
    fn what_differences_lead_to_is_what_the_whole_says(ops in proptest::collection::vec(op(), 1..50)) {
        let nodes = (1..=NODES).map(|id| node(NodeId(id)));
        let store = Store::restore(1, nodes.chain([secret(), ingress()]));
        let dispatch = Dispatch::new(Mono(0), store.view());
        let mut run = Run { store, dispatch, told: BTreeMap::new(), sessions: 0 };
        (1..=NODES).for_each(|id| run.open(NodeId(id)));
        for op in ops {
            if let Some(change) = change(&run.store.view(), &op) {
                run.commit(vec![change]);
            }
            match op {
                Op::Join { id } => run.open(NodeId(id)),
                Op::Gossip { id, up } => {
                    let liveness = if up { Liveness::Up } else { Liveness::Down };
                    run.give(Input::Gossip(vec![(NodeId(id), liveness)]));
                }
                _ => {}
            }
            let view = run.store.view();
            for (node, told) in run.told.values() {
                prop_assert_eq!(told, &whole(&view, *node), "node {}", node);
            }
            let known = run.dispatch.nodes.keys().copied().collect::<BTreeSet<_>>();
            let there = view.nodes().map(|node| node.id).collect::<BTreeSet<_>>();
            prop_assert!(there.is_subset(&known), "every node has its presence");
            let strangers = known.difference(&there).copied().collect::<BTreeSet<_>>();
            prop_assert!(strangers.is_subset(&run.dispatch.strangers), "nobody else is kept");
        }
    }
}
