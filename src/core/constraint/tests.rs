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
        ("NODE.Role==Worker", true),
        ("Node.Labels.zone==a", true),
        ("node.labels.Zone==a", false),
    ] {
        assert_eq!(Constraint::parse(text).unwrap().matches(&node()), expected, "{text}");
    }
}

#[test]
fn a_value_may_have_wildcards() {
    for (text, expected) in [
        ("node.hostname==host*", true),
        ("node.hostname==HOST?", true),
        ("node.hostname==host??", false),
        ("node.hostname!=web-*", true),
        ("node.hostname==*s*1", true),
        ("node.labels.zone==*", true),
        ("node.labels.rack==*", false),
        ("node.labels.rack!=*", true),
        ("node.platform.arch==x86*", true),
        ("node.platform.arch==amd*", true),
        ("node.role==*", true),
    ] {
        assert_eq!(Constraint::parse(text).unwrap().matches(&node()), expected, "{text}");
    }
}

#[test]
fn a_value_with_wildcards_still_equals_itself_and_a_backslash_takes_their_meaning() {
    let mut node = node();
    node.spec.labels.insert("disk".into(), "a*b\\c".into());
    for (text, expected) in [
        ("node.labels.disk==a*b\\c", true),
        ("node.labels.disk==a\\*b\\c", true),
        ("node.labels.disk==a\\?b\\c", false),
        ("node.labels.disk==a?b*", true),
    ] {
        assert_eq!(Constraint::parse(text).unwrap().matches(&node), expected, "{text}");
    }
    node.spec.labels.insert("disk".into(), "axb\\c".into());
    assert!(!Constraint::parse("node.labels.disk==a\\*b\\c").unwrap().matches(&node));
}

#[test]
fn in_compares_with_several_values() {
    for (text, expected) in [
        ("node.labels.zone in (a,b)", true),
        ("node.labels.zone in (b, c)", false),
        ("node.labels.zone not in (b, c)", true),
        ("node.labels.zone   not   in(A)", false),
        ("node.labels.rack in (a, *)", false),
        ("node.labels.rack not in (1)", true),
        ("node.hostname in (web-*, host*)", true),
        ("node.ip in (10.9.0.0/16, 10.1.2.3)", true),
        ("node.ip not in (10.9.0.0/16)", true),
        ("node.platform.arch in (arm64, x86_64)", true),
        ("node.role in (manager)", false),
    ] {
        assert_eq!(Constraint::parse(text).unwrap().matches(&node()), expected, "{text}");
    }
}

#[test]
fn a_wrong_expression_says_what_is_wrong_with_it() {
    for (text, words) in [
        ("node.role", "expected KEY==VALUE, KEY!=VALUE, KEY in (VALUE, ...) or KEY not in (VALUE, ...)"),
        ("==a", "expected KEY==VALUE"),
        ("node.role=worker", "expected KEY==VALUE"),
        ("node.role==", "the value is missing"),
        ("node.color==red", "unknown key \"node.color\""),
        ("node.labels.==red", "unknown key \"node.labels.\""),
        ("node.labels.my zone==a", "unknown key \"node.labels.my zone\""),
        ("node.labels.zone in", "the value is missing"),
        ("node.labels.zone in a,b", "after \"in\" come values in parentheses, like (a, b)"),
        ("node.labels.zone in (a", "after \"in\" come values in parentheses"),
        ("node.labels.zone not in ()", "a value in parentheses is empty"),
        ("node.labels.zone in (a,,b)", "a value in parentheses is empty"),
        ("node.labels.zone not (a)", "expected KEY==VALUE"),
        ("node.ip==here", "\"here\" is no address and no subnet"),
        ("node.ip in (10.0.0.1, 10.*)", "\"10.*\" is no address and no subnet like 10.1.0.0/16"),
        ("node.role in (worker, boss)", "a node is a manager or a worker, never \"boss\""),
    ] {
        let error = Constraint::parse(text).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(text), "{error}");
    }
}

/// What a wildcard means, said once more without cleverness.
fn matches_plainly(pattern: &[char], value: &[char]) -> bool {
    match (pattern.split_first(), value.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            matches_plainly(rest, value) || !value.is_empty() && matches_plainly(pattern, &value[1..])
        }
        (Some(('?', rest)), Some((_, left))) => matches_plainly(rest, left),
        (Some((one, rest)), Some((other, left))) => one.eq_ignore_ascii_case(other) && matches_plainly(rest, left),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn a_key() -> impl Strategy<Value = String> {
    let fixed = ["node.id", "node.hostname", "node.platform.os", "node.platform.arch"].map(str::to_owned);
    prop_oneof![prop::sample::select(fixed.to_vec()), "(node|engine)[.]labels[.][a-zA-Z0-9._/-]{1,9}"]
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused_without_panic(text: String) {
        let _ = Constraint::parse(&text);
    }

    #[test]
    fn any_text_that_is_nearly_a_constraint_parses_or_is_refused(text in "(node[.](ip|role|labels[.]x)|)( |==|!=|in|not|[(),*?\\\\äa1.])*") {
        if let Ok(parsed) = Constraint::parse(&text) {
            prop_assert_eq!(Constraint::parse(&parsed.to_string()), Ok(parsed));
        }
    }

    #[test]
    fn what_is_shown_parses_to_the_same(
        key in a_key(),
        values in prop::collection::vec("[a-z0-9*?\\\\:/-]{1,9}", 1..4),
        operator in prop::sample::select(vec!["==", "!=", " in ", " not in "]),
    ) {
        let text = match operator {
            "==" | "!=" => format!("{key}{operator}{}", values[0]),
            list => format!("{key}{list}({})", values.join(", ")),
        };
        let parsed = Constraint::parse(&text).unwrap();
        prop_assert_eq!(parsed.to_string(), text);
    }

    #[test]
    fn wildcards_match_what_they_say(pattern in "[ab*?]{0,8}", value in "[abAB*]{0,8}") {
        let (parts, chars): (Vec<char>, Vec<char>) = (pattern.chars().collect(), value.chars().collect());
        prop_assert_eq!(Pattern::new(&pattern).matches(&value), matches_plainly(&parts, &chars));
    }

    #[test]
    fn a_list_is_what_its_values_are_one_by_one(values in prop::collection::vec("[ab*]{1,2}", 1..4), label in "[ab]{0,2}") {
        let mut node = node();
        node.spec.labels.insert("x".into(), label);
        let holds = |text: String| Constraint::parse(&text).unwrap().matches(&node);
        let any = values.iter().any(|value| holds(format!("node.labels.x=={value}")));
        prop_assert_eq!(holds(format!("node.labels.x in ({})", values.join(","))), any);
        prop_assert_eq!(holds(format!("node.labels.x not in ({})", values.join(","))), !any);
    }
}
