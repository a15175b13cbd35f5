use super::task::{Filled, NodeFacts, check_container, check_content, fill_container, fill_content};
use super::{Limits, Mode, Template, Uses};
use crate::model::*;
use crate::{ConfigId, NodeId, SecretId, ServiceId, TaskId};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

fn task(edit: impl FnOnce(&mut ContainerSpec)) -> Task {
    let mut container = ContainerSpec { image: "web:1".into(), ..ContainerSpec::default() };
    edit(&mut container);
    Task {
        node: Some(NodeId(5)),
        service_name: "web".into(),
        service_labels: [("tier".to_owned(), "front".to_owned())].into(),
        ..Task::new(TaskId(3), ServiceId(2), 4, Arc::new(TaskSpec { container, ..TaskSpec::default() }))
    }
}

fn node() -> NodeFacts {
    let platform = Platform { os: "linux".into(), architecture: "x86_64".into() };
    NodeFacts { id: Some(NodeId(5)), hostname: "host5".into(), platform }
}

fn file(name: &str) -> FileTarget {
    FileTarget { name: name.into(), uid: String::new(), gid: String::new(), mode: 0o444 }
}

fn with_contents(spec: &mut ContainerSpec) {
    spec.env = vec!["MODE=fast".into()];
    spec.secrets = vec![SecretReference { id: SecretId(7), name: "key".into(), file: file("key.txt"), version: 2 }];
    spec.configs = vec![ConfigReference { id: ConfigId(8), name: "base".into(), file: file("/base"), version: 1 }];
}

/// Filled in as a config of a service with a variable, a secret and a config.
fn filled(kind: ContentId, text: &str) -> Result<Filled, String> {
    let task = task(with_contents);
    let data = |content: ContentId, version: u64| match (content, version) {
        (ContentId::Secret(SecretId(7)), 2) => Some(b"s3cr3t".as_slice()),
        (ContentId::Config(ConfigId(8)), 1) => Some(b"{{.Base}}".as_slice()),
        _ => None,
    };
    let filled = fill_content(kind, text.as_bytes(), &task, &task.spec.container, &node(), &data);
    filled.map_err(|fault| fault.placed().to_string())
}

fn config(text: &str) -> Result<String, String> {
    filled(ContentId::Config(ConfigId(1)), text).map(|filled| filled.text.into_inner())
}

#[test]
fn environment_host_name_and_mounts_are_filled_in_for_each_task() {
    let task = task(|spec| {
        spec.env = vec!["SLOT={{.Task.Slot}} of {{.Service.Name}}".into(), "PLAIN=a".into(), "{{.Task.ID}}".into()];
        spec.hostname = "{{.Service.Labels.tier}}-{{.Node.Hostname}}".into();
        let source = MountSource::Volume {
            name: "data-{{.Task.Slot}}".into(),
            driver: String::new(),
            driver_options: Default::default(),
            labels: [("arch".to_owned(), "{{.Node.Platform.Architecture}}".to_owned())].into(),
            no_copy: false,
            subpath: String::new(),
        };
        spec.mounts = vec![
            Mount { target: "/data/{{.Task.Slot}}".into(), source, read_only: false },
            Mount {
                target: "/host".into(),
                source: MountSource::Bind {
                    path: "/srv/{{.Node.Platform.OS}}".into(),
                    propagation: String::new(),
                    create: false,
                },
                read_only: true,
            },
        ];
    });
    let spec = fill_container(&task, &node()).expect("all of it is there");
    assert_eq!(spec.env[..2], ["SLOT=4 of web", "PLAIN=a"]);
    assert_eq!(spec.env[2], TaskId(3).to_string(), "an entry without a value is a template, too");
    assert_eq!(spec.hostname, "front-host5");
    let Mount { target, source: MountSource::Volume { name, labels, .. }, .. } = &spec.mounts[0] else {
        panic!("a volume")
    };
    assert_eq!((target.as_str(), name.as_str(), labels["arch"].as_str()), ("/data/4", "data-4", "x86_64"));
    assert!(matches!(&spec.mounts[1].source, MountSource::Bind { path, .. } if path == "/srv/linux"));
}

#[test]
fn the_node_stands_for_the_slot_of_a_global_service() {
    let mut task = task(|spec| spec.env = vec!["A={{.Task.Slot}}".into(), "B={{.Task.Name}}".into()]);
    task.slot = 0;
    let spec = fill_container(&task, &node()).expect("fills in");
    assert_eq!(spec.env[0], format!("A={}", NodeId(5)));
    assert_eq!(spec.env[1], format!("B={}", task.name()));
}

#[test]
fn a_wrong_template_in_a_service_is_told_with_its_place() {
    let labels: Labels = [("tier".to_owned(), "front".to_owned())].into();
    let check = |env: &str| {
        let spec = ContainerSpec { env: vec!["A=b".into(), format!("X={env}")], ..ContainerSpec::default() };
        check_container(&spec, &labels).err().unwrap_or_default()
    };
    assert_eq!(check("{{.Task.Slot}} {{.Service.Labels.tier}} {{index .Service.Labels \"tier\"}}"), "");
    assert_eq!(check("{{.Task.Slot"), "Env[1]: unclosed action");
    assert_eq!(check("{{secret \"key\"}}"), "Env[1]: function \"secret\" not defined");
    assert_eq!(check("{{.Service.Labels.zone}}"), "Env[1]: the service has no label zone");
    assert!(
        check("{{if eq .Node.Name \"a\"}}b{{end}}").starts_with("Env[1]: there is no .Node.Name: use .Service.ID,")
    );
    assert!(check("{{with .Service}}{{.Name}}{{$.Task.Nmae}}{{end}}").contains("no .Task.Nmae"));
    let spec = ContainerSpec { hostname: "{{nope}}".into(), ..ContainerSpec::default() };
    assert_eq!(check_container(&spec, &labels).unwrap_err(), "Hostname: function \"nope\" not defined");
}

#[test]
fn what_comes_out_is_bounded() {
    let long = |text: &str| fill_container(&task(|spec| spec.hostname = text.into()), &node()).unwrap_err();
    assert_eq!(long("{{printf \"%s%s\" .Task.Name .Task.Name}}{{.Task.Name}}"), "Hostname: the output is too long");
    // Each doubles the one before.
    let doubling = "{{$a := \"xxxxxxxxxxxxxxxx\"}}".to_owned() + &"{{$a := print $a $a}}".repeat(60);
    assert_eq!(config(&doubling).unwrap_err(), "line 1: the template does too much");
    let range = "{{range .Service.Labels}}".to_owned();
    let many =
        r#"{{$l := split "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" ""}}"#;
    let endless = r#"{{define "a"}}{{template "a" .}}{{template "a" .}}{{end}}{{template "a" .}}"#;
    assert!(config(endless).unwrap_err().contains("within one another"));
    let nested = range.replace(".Service.Labels", "$l").repeat(8) + &"{{end}}".repeat(8);
    assert_eq!(config(&format!("{many}{nested}")).unwrap_err(), "line 1: the template does too much");
}

#[test]
fn contents_can_use_variables_secrets_and_configs_of_the_service() {
    assert_eq!(config("{{env \"MODE\"}} {{env \"NONE\"}}|{{config \"/base\"}}").as_deref(), Ok("fast |{{.Base}}"));
    assert_eq!(config("{{secret \"key.txt\"}} {{secret \"key\" | upper}}").as_deref(), Ok("s3cr3t S3CR3T"));
    assert_eq!(config("{{join \"-\" .Service.Name .Task.Slot}}").as_deref(), Ok("web-4"));
    assert_eq!(config("a\n{{secret \"other\"}}").unwrap_err(), "line 2: the service has no secret \"other\"");
    assert_eq!(config("{{.Service.Labels.zone}}").unwrap_err(), "line 1: can't evaluate field zone");
}

#[test]
fn a_config_that_uses_a_secret_is_a_secret() {
    let is_secret = |kind, text| filled(kind, text).expect("fills in").is_secret;
    let config = ContentId::Config(ConfigId(1));
    assert!(!is_secret(config, "{{env \"MODE\"}}{{config \"base\"}}"));
    assert!(is_secret(config, "{{if eq (secret \"key\") \"\"}}none{{else}}some{{end}}"));
    assert!(is_secret(ContentId::Secret(SecretId(1)), "plain"));
}

#[test]
fn neither_errors_nor_debug_form_show_a_secret() {
    for text in [
        "{{env (secret \"key\")}}{{config (print (secret \"key\") \"x\")}}",
        "{{secret \"key\" | secret}}",
        "{{range secret \"key\"}}{{end}}",
        "{{index (secret \"key\") 1}}",
        "{{index (split (secret \"key\") \"3\") 9}}",
        "{{(secret \"key\").x}}",
        "{{printf (secret \"key\") 1 2}}",
        "{{pad \"x\" (secret \"key\") 1}}",
        "{{lt (secret \"key\") 1}}",
        "{{join 1 (secret \"key\")}}",
        "{{secret (secret \"key\")}}",
        "{{slice (secret \"key\") 1 99}}",
        "{{printf \"%5z\" (secret \"key\")}}{{html (secret \"key\")}}",
        "{{with $x := secret \"key\"}}{{$x.y}}{{end}}",
        "{{define \"a\"}}{{.x}}{{end}}{{template \"a\" (secret \"key\")}}",
    ] {
        match filled(ContentId::Config(ConfigId(1)), text) {
            Ok(filled) => assert!(!format!("{filled:?}").contains("s3cr3t"), "{text}"),
            Err(words) => assert!(!words.contains("s3cr3t"), "{text}: {words}"),
        }
    }
}

#[test]
fn a_content_is_checked_alone_and_with_a_service_that_uses_it() {
    let alone = |text: &str| check_content(text.as_bytes(), None).map_err(|fault| fault.placed().to_string());
    assert_eq!(alone("{{.Service.Labels.any}} {{secret \"any\"}}"), Ok(()));
    assert_eq!(alone("a\n\n{{ if }}").unwrap_err(), "line 3: missing value for if");
    assert_eq!(alone("a\n{{/* two\nlines */}}{{.Nope}}").unwrap_err().split(':').next(), Some("line 3"));
    assert!(check_content(b"\xff", None).is_err());
    let (task, labels) = (task(with_contents), Labels::new());
    let used = check_content(b"{{secret \"key\"}}{{secret \"other\"}}", Some((&task.spec.container, &labels)));
    let fault = used.unwrap_err();
    assert_eq!(fault.placed().to_string(), "line 1: the service has no secret \"other\"");
    assert_eq!(fault.discreet().to_string(), "line 1: it names what is not there");
}

proptest! {
    #[test]
    fn any_text_is_a_template_or_refused_and_its_work_is_bounded(text in "(\\{\\{|\\}\\}|[ .$a-z\"|():=-]|range|end|if|else|with|print|printf|define|template|break|slice|Service|Labels|%5){0,60}") {
        if let Ok(template) = Template::parse(&text, Uses::Contents) {
            let _ = template.check(&|_| Ok(()));
            let limits = Limits { output_bytes: 1000, work_bytes: 100_000 };
            if let Ok(out) = template.render(&json!({ "Service": { "Labels": { "a": "b" } } }), Mode::Strict, limits) {
                prop_assert!(out.len() <= 1000);
            }
        }
    }
}
