//! Tasks that fit nowhere are remembered, and what is said of them stays true.

use super::tests::{Table, reserve};
use super::{Board, place};
use crate::TaskId;
use crate::WallTime;
use crate::model::*;
use crate::store::{Change, Delta, ObjectRef, Txn, View};

/// A leader's board, brought to each view by what differs.
struct Leader {
    view: View,
    board: Board,
}

impl Leader {
    fn of(table: &Table) -> Self {
        let view = table.store.view();
        Self { board: Board::of(&view), view }
    }

    /// What it places and says; as a board that looks at everything does.
    fn place(&mut self, table: &mut Table, now: WallTime) -> Vec<Change> {
        let view = table.store.view();
        self.board.follow(&Delta::between(&self.view, &view), &view);
        self.view = view.clone();
        let changes = place(&view, &mut self.board, now, usize::MAX, &mut Vec::new());
        assert_eq!(changes, place(&view, &mut Board::of(&view), now, usize::MAX, &mut Vec::new()));
        table.txn(Txn { changes: changes.clone(), wall: now, ..Txn::default() });
        changes
    }
}

fn reason(table: &Table, task: TaskId) -> String {
    table.store.view().task(task).unwrap().status.err.clone()
}

const LATER: WallTime = WallTime(60_000);

#[test]
fn the_reason_of_a_remembered_task_follows_the_nodes_and_it_is_placed_when_one_takes_it() {
    let mut table = Table::new(3);
    let running = table.task(1, Some(1), |spec, _| reserve(spec, 0, 6));
    let task = table.task(2, None, |spec, _| reserve(spec, 0, 9));
    let mut leader = Leader::of(&table);
    leader.place(&mut table, WallTime(0));
    assert_eq!(reason(&table, task), "no node fits: 3 lack memory (want 9 GiB, free 2, 8, 8)");
    table.edit(2, |node| node.spec.availability = Availability::Drain);
    leader.place(&mut table, WallTime(0));
    assert_eq!(reason(&table, task), "no node fits: 1 drained, 2 lack memory (want 9 GiB, free 2, 8)");
    table.change(Change::Delete(ObjectRef::Task(running)));
    leader.place(&mut table, LATER);
    assert_eq!(reason(&table, task), "no node fits: 1 drained, 2 lack memory (want 9 GiB, free 8, 8)");
    table.change(Change::Delete(ObjectRef::Node(crate::NodeId(3))));
    leader.place(&mut table, WallTime(2 * LATER.0));
    assert_eq!(reason(&table, task), "no node fits: 1 drained, 1 lack memory (want 9 GiB, free 8)");
    table.edit(1, |node| node.description.as_mut().unwrap().resources.memory_bytes = 16 << 30);
    leader.place(&mut table, LATER);
    assert_eq!(table.store.view().task(task).unwrap().node, Some(crate::NodeId(1)));
}

#[test]
fn of_many_nodes_a_change_is_told_of_that_reaches_the_five_that_are_told() {
    let mut table = Table::new(9);
    let size = |table: &mut Table, id: u128, gib: i64| {
        table.edit(id, |node| node.description.as_mut().unwrap().resources.memory_bytes = gib << 30);
    };
    (1..=9).for_each(|id| size(&mut table, id, i64::try_from(id).unwrap()));
    let task = table.task(1, None, |spec, _| reserve(spec, 0, 20));
    let mut leader = Leader::of(&table);
    let mut now = 0;
    let mut reason_after = |table: &mut Table, id: u128, gib: i64| {
        size(table, id, gib);
        now += LATER.0;
        leader.place(table, WallTime(now));
        reason(table, task).replace("no node fits: 9 lack memory (want 20 GiB, free ", "")
    };
    assert_eq!(reason_after(&mut table, 1, 2), "5, 6, 7, 8, 9 and less)");
    assert_eq!(reason_after(&mut table, 1, 4), "5, 6, 7, 8, 9 and less)");
    assert_eq!(reason_after(&mut table, 1, 5), "5, 6, 7, 8, 9 and less)");
    assert_eq!(reason_after(&mut table, 5, 1), "5, 6, 7, 8, 9 and less)", "another has as much");
    assert_eq!(reason_after(&mut table, 1, 19), "6, 7, 8, 9, 19 and less)");
    assert_eq!(reason_after(&mut table, 6, 3), "4, 7, 8, 9, 19 and less)");
}

#[test]
fn nodes_are_not_looked_at_again_for_a_task_that_fits_nowhere() {
    let mut table = Table::new(3);
    table.task(1, None, |spec, _| reserve(spec, 0, 9));
    let mut leader = Leader::of(&table);
    leader.place(&mut table, WallTime(0));
    let kinds = |leader: &Leader| leader.board.stuck.counted();
    assert_eq!(kinds(&leader), [3], "each node once");
    leader.place(&mut table, WallTime(0));
    assert_eq!(kinds(&leader), [3]);
    table.edit(2, |node| node.spec.availability = Availability::Drain);
    leader.place(&mut table, WallTime(0));
    assert_eq!(kinds(&leader), [4], "the one that changed");
    // On a node that another task gets only that task's node has changed.
    table.task(2, None, |spec, _| reserve(spec, 1, 0));
    leader.place(&mut table, WallTime(0));
    leader.place(&mut table, WallTime(0));
    assert_eq!(kinds(&leader), [5]);
}

#[test]
fn what_waits_no_more_is_forgotten() {
    let mut table = Table::new(3);
    let task = table.task(1, None, |spec, _| reserve(spec, 0, 9));
    let mut leader = Leader::of(&table);
    leader.place(&mut table, WallTime(0));
    table.change(Change::TaskDesired { task, desired: TaskState::Remove });
    leader.place(&mut table, WallTime(0));
    assert!(leader.board.stuck.counted().is_empty());
}

#[test]
fn a_task_that_asks_for_less_than_the_one_before_it_is_looked_at_anew() {
    let mut table = Table::new(1);
    let first = table.task(1, None, |spec, _| reserve(spec, 0, 9));
    let mut leader = Leader::of(&table);
    leader.place(&mut table, WallTime(0));
    table.change(Change::Delete(ObjectRef::Task(first)));
    // Of the same service and version, as after a store was written by hand.
    let second = table.task(1, None, |spec, _| reserve(spec, 0, 1));
    leader.place(&mut table, WallTime(0));
    assert!(table.store.view().task(second).unwrap().node.is_some());
}
