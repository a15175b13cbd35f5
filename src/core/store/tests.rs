use super::*;
use crate::model::*;
use crate::{NodeId, ServiceId, TaskId, WallTime};

fn node(id: u128) -> Node {
    Node {
        id: NodeId(id),
        meta: Meta::default(),
        spec: NodeSpec::default(),
        description: None,
        status: NodeStatus::default(),
        raft: None,
        certificate_role: NodeRole::Worker,
    }
}

fn service(id: u128, name: &str) -> Object {
    Object::Service(Arc::new(Service::new(
        ServiceId(id),
        ServiceSpec {
            name: name.to_owned(),
            labels: Labels::new(),
            task: TaskSpec::default(),
            mode: ServiceMode::Replicated { replicas: 1 },
            update: None,
            rollback: None,
            endpoint: EndpointSpec::default(),
            depends_on: Vec::new(),
            autoscale: None,
        },
    )))
}

fn txn(changes: Vec<Change>) -> Txn {
    Txn { changes, wall: WallTime(7), ..Txn::default() }
}

#[test]
fn a_refused_transaction_leaves_nothing_behind() {
    let mut store = Store::new();
    store.apply(1, 1, &txn(vec![Change::Create(service(1, "web"))])).unwrap();
    let refused = txn(vec![Change::Create(node(9).into()), Change::Create(service(2, "web"))]);
    let conflict = store.apply(2, 1, &refused).unwrap_err();
    assert_eq!(conflict, Conflict::NameTaken { kind: "service", name: "web".to_owned() });
    assert!(store.view().node(NodeId(9)).is_none());
    assert_eq!(store.view().index(), 2);
}

#[test]
fn a_service_that_is_being_removed_gives_its_name_back() {
    let mut store = Store::new();
    store.apply(1, 1, &txn(vec![Change::Create(service(1, "web"))])).unwrap();
    let removing = Service { removing: true, ..(**store.view().service(ServiceId(1)).unwrap()).clone() };
    store.apply(2, 1, &txn(vec![Change::Replace(Object::Service(Arc::new(removing)))])).unwrap();
    store.apply(3, 1, &txn(vec![Change::Create(service(2, "web"))])).unwrap();
    assert_eq!(store.view().service_by_name("web").map(|s| s.id), Some(ServiceId(2)));
    store.apply(4, 1, &txn(vec![Change::Delete(ObjectRef::Service(ServiceId(1)))])).unwrap();
    assert_eq!(store.view().service_by_name("web").map(|s| s.id), Some(ServiceId(2)));
}

#[test]
fn a_write_of_an_earlier_term_is_fenced() {
    let mut store = Store::new();
    let late = Txn { term: Some(3), ..txn(vec![Change::Create(node(1).into())]) };
    assert_eq!(store.apply(1, 4, &late), Err(Conflict::Fenced { decided: 3, current: 4 }));
}

#[test]
fn a_stale_version_is_out_of_sequence() {
    let mut store = Store::new();
    store.apply(5, 1, &txn(vec![Change::Create(service(1, "web"))])).unwrap();
    let object = ObjectRef::Service(ServiceId(1));
    let mut update = txn(vec![Change::Replace(service(1, "web"))]);
    update.preconditions.push(Precondition::Version(object, 4));
    assert_eq!(store.apply(6, 1, &update), Err(Conflict::OutOfSequence { object, expected: 4, found: 5 }));
    update.preconditions[0] = Precondition::Version(object, 5);
    assert!(store.apply(7, 1, &update).is_ok());
}

#[test]
fn a_name_is_free_again_after_its_owner_is_renamed_or_deleted() {
    let mut store = Store::new();
    store.apply(1, 1, &txn(vec![Change::Create(service(1, "a"))])).unwrap();
    store.apply(2, 1, &txn(vec![Change::Replace(service(1, "b"))])).unwrap();
    store.apply(3, 1, &txn(vec![Change::Create(service(2, "a"))])).unwrap();
    store.apply(4, 1, &txn(vec![Change::Delete(ObjectRef::Service(ServiceId(1)))])).unwrap();
    assert!(store.view().service_by_name("b").is_none());
    assert_eq!(store.view().service_by_name("a").map(|s| s.id), Some(ServiceId(2)));
}

#[test]
fn a_task_state_never_goes_back() {
    let mut store = Store::new();
    let task = Task {
        node: Some(NodeId(1)),
        service_name: "web".to_owned(),
        status: TaskStatus { state: TaskState::Running, ..TaskStatus::default() },
        ..Task::new(TaskId(1), ServiceId(1), 1, Arc::new(TaskSpec::default()))
    };
    store.apply(1, 1, &txn(vec![Change::Create(Object::Task(Arc::new(task)))])).unwrap();
    let late = TaskStatus { state: TaskState::Preparing, ..TaskStatus::default() };
    let events = store.apply(2, 1, &txn(vec![Change::TaskStatus { task: TaskId(1), status: late }])).unwrap();
    assert!(events.is_empty());
    assert_eq!(store.view().tasks_of_node(NodeId(1)).count(), 1);
    store.apply(3, 1, &txn(vec![Change::Delete(ObjectRef::Task(TaskId(1)))])).unwrap();
    assert_eq!(store.view().tasks_of_node(NodeId(1)).count(), 0);
    assert_eq!(store.view().tasks_of_service(ServiceId(1)).count(), 0);
}

#[test]
fn a_restored_store_equals_the_one_it_was_taken_from() {
    let mut store = Store::new();
    store.apply(3, 1, &txn(vec![Change::Create(service(1, "web")), Change::Create(node(2).into())])).unwrap();
    let copy = Store::restore(store.view().index(), store.objects());
    assert_eq!(copy.objects(), store.objects());
    assert!(copy.view().service_by_name("web").is_some());
}

#[test]
fn an_assignment_decided_before_the_node_got_another_label_is_not_taken() {
    let mut store = Store::new();
    let zone = |zone: &str| {
        let mut node = node(9);
        node.status.state = NodeState::Ready;
        node.spec.labels.insert("zone".to_owned(), zone.to_owned());
        node
    };
    let constraints = vec!["node.labels.zone==a".to_owned()];
    let spec = TaskSpec { placement: Placement { constraints, ..Placement::default() }, ..TaskSpec::default() };
    let mut task = Task::new(TaskId(3), ServiceId(1), 1, Arc::new(spec));
    task.status.state = TaskState::Pending;
    store.apply(1, 1, &txn(vec![Change::Create(zone("b").into()), Change::Create(Object::Task(task.into()))])).unwrap();
    let assigned = Change::TaskAssigned {
        task: TaskId(3),
        node: Some(NodeId(9)),
        message: String::new(),
        reason: String::new(),
        resources: Default::default(),
    };
    store.apply(2, 1, &txn(vec![assigned.clone()])).unwrap();
    let state = |store: &Store| store.view().task(TaskId(3)).map(|task| (task.status.state, task.node));
    assert_eq!(state(&store), Some((TaskState::Pending, None)));
    store.apply(3, 1, &txn(vec![Change::Replace(zone("a").into()), assigned])).unwrap();
    assert_eq!(state(&store), Some((TaskState::Assigned, Some(NodeId(9)))));
}
