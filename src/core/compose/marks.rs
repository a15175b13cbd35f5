//! `!reset` and `!override` (Compose specification, "Reset value" and "Replace value"): a later file or service takes a
//! value of an earlier one away, or takes its place.
//!
//! What goes is taken out of the earlier trees before anything reads them, so that it is neither checked nor missed:
//! a key that is not honoured here can be reset. Where the earlier one has another form (`environment` as a list),
//! `merge` does the rest in canonical form. At the end nothing is left of the marks.

use super::value::{Mark, Node, Value};

/// Takes out of each tree what a later one resets or overrides.
pub(crate) fn take_away(trees: &mut [&mut Node]) {
    for later in (1..trees.len()).rev() {
        let (before, after) = trees.split_at_mut(later);
        let Some(over) = after.first().filter(|over| any(over)) else { continue };
        for base in before {
            take(base, over);
        }
    }
}

fn any(node: &Node) -> bool {
    node.mark != Mark::Plain || node.entries().iter().any(|entry| any(&entry.node))
}

fn take(base: &mut Node, over: &Node) {
    let Some(map) = base.as_map_mut() else { return };
    for entry in over.entries() {
        match entry.node.mark {
            Mark::Reset | Mark::Override => {
                map.remove(&entry.key);
            }
            Mark::Plain => {
                if let Some(old) = map.get_mut(&entry.key) {
                    take(old, &entry.node);
                }
            }
        }
    }
}

/// Takes out what is reset, and forgets all marks.
pub(crate) fn strip(node: &mut Node) {
    node.mark = Mark::Plain;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(strip),
        Value::Map(map) => {
            map.0.retain(|entry| !entry.node.is_reset());
            map.0.iter_mut().for_each(|entry| strip(&mut entry.node));
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text { .. } => {}
    }
}
