//! Flags of where tasks go beyond constraints and preferences: priority, generic resources.

use crate::error::{CliError, Result};
use crate::json::{drop_empty, int, list_mut, set_some, text};
use clap::Args;
use serde_json::{Value, json};

const GENERIC: &str = "/TaskTemplate/Resources/Reservations/GenericResources";

#[derive(Debug, Args)]
pub struct PlacingOptions {
    /// Who goes first when there is not room for all: higher is more important (default 0)
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i32>,
}

impl PlacingOptions {
    pub fn apply(&self, spec: &mut Value) {
        set_some(spec, "/Swarm/Priority", self.priority);
    }
}

/// Adds what `--generic-resource KIND=AMOUNT` asks for; another amount of the same kind takes the place of the old.
pub fn add_generic(spec: &mut Value, words: &[String]) -> Result<()> {
    for word in words {
        let pair =
            word.split_once('=').and_then(|(kind, amount)| Some((kind.trim(), amount.trim().parse::<u32>().ok()?)));
        let Some((kind, amount)) = pair.filter(|(kind, amount)| !kind.is_empty() && *amount > 0) else {
            let error = format!("invalid generic resource \"{word}\"");
            return Err(CliError::hinted(error, "use KIND=AMOUNT, such as gpu=2"));
        };
        remove_generic(spec, &[kind.to_owned()]);
        let item = json!({ "DiscreteResourceSpec": { "Kind": kind, "Value": amount } });
        list_mut(spec, GENERIC).push(item);
    }
    Ok(())
}

/// Takes kinds away; an amount after the kind is not looked at, as docker does.
pub fn remove_generic(spec: &mut Value, words: &[String]) {
    for word in words {
        let kind = word.split_once('=').map_or(word.as_str(), |(kind, _)| kind);
        list_mut(spec, GENERIC).retain(|item| text(item, "/DiscreteResourceSpec/Kind") != kind);
    }
    drop_empty(spec, GENERIC);
}

/// `gpu=2, ssd=1`: what a service reserves of generic resources.
pub fn generic_words(items: &[Value]) -> String {
    let one = |item: &Value| {
        format!("{}={}", text(item, "/DiscreteResourceSpec/Kind"), int(item, "/DiscreteResourceSpec/Value"))
    };
    items.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_resources_are_added_changed_and_removed() {
        let mut spec = json!({});
        add_generic(&mut spec, &["gpu=2".into(), "ssd=1".into()]).unwrap();
        add_generic(&mut spec, &["gpu=4".into()]).unwrap();
        assert_eq!(generic_words(crate::json::list(&spec, GENERIC)), "ssd=1, gpu=4");
        remove_generic(&mut spec, &["gpu=9".into(), "ssd".into()]);
        assert_eq!(spec.pointer(GENERIC), None);
        for wrong in ["gpu", "gpu=", "=1", "gpu=0", "gpu=GPU-1", "gpu=-1"] {
            assert!(add_generic(&mut spec, &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
