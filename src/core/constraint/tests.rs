use super::*;
use crate::NodeId;
use crate::model::{Meta, NodeDescription, NodeSpec, NodeStatus, Platform};
use proptest::prelude::*;

fn node() -> Node {
    Node {
        id: NodeId(7),
        meta: Meta::default(),
        spec: NodeSpec { labels: [("zone".into(), "A".into())].into(), ..NodeSpec::default() },
        description: Some(NodeDescription {
            hostname: "host1".into(),
            platform: Platform { os: "linux".into(), architecture: "x86_64".into() },
            engine_labels: [("disk".into(), "ssd".into())].into(),
            ..NodeDescription::default()
        }),
        status: NodeStatus { addr: Some("10.1.2.3".parse().unwrap()), ..NodeStatus::default() },
        raft: None,
        certificate_role: NodeRole::Worker,
    }
}

#[test]
fn each_key_is_compared_with_what_the_node_says() {
    let id = format!("node.id == {}", NodeId(7));
    for (text, expected) in [
        (id.as_str(), true),
        ("node.hostname==host1", true),
        ("node.hostname!=host1", false),
        ("node.role==worker", true),
        ("node.role==manager", false),
        ("node.platform.os==Linux", true),
        ("node.platform.arch==amd64", true),
        ("node.platform.arch!=x86_64", false),
        ("node.labels.zone == a", true),
        ("node.labels.rack==1", false),
        ("node.labels.rack!=1", true),
        ("engine.labels.disk==ssd", true),
        ("node.ip==10.1.0.0/16", true),
        ("node.ip!=10.1.2.3", false),
    ] {
        assert_eq!(Constraint::parse(text).unwrap().matches(&node()), expected, "{text}");
    }
}

#[test]
fn a_wrong_expression_says_what_is_wrong_with_it() {
    for (text, words) in [
        ("node.role", "expected KEY==VALUE or KEY!=VALUE"),
        ("==a", "expected KEY==VALUE or KEY!=VALUE"),
        ("node.role==", "the value is missing"),
        ("node.color==red", "unknown key \"node.color\""),
        ("node.labels.==red", "unknown key \"node.labels.\""),
        ("node.ip==here", "\"here\" is no address and no subnet"),
    ] {
        let error = Constraint::parse(text).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(text), "{error}");
    }
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused_without_panic(text: String) {
        let _ = Constraint::parse(&text);
    }

    #[test]
    fn what_is_shown_parses_to_the_same(label in "[a-z.]{1,9}", value in "[a-z0-9]{1,9}", equal: bool) {
        let text = format!("node.labels.{label}{}{value}", if equal { "==" } else { "!=" });
        let parsed = Constraint::parse(&text).unwrap();
        prop_assert_eq!(parsed.to_string(), text);
    }
}
