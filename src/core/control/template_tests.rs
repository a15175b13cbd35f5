use super::{ContentWish, create_config, create_secret, update_config};
use crate::model::*;
use crate::spec::mounts;
use crate::store::{Object, Store, View, fits};
use crate::{ConfigId, Sensitive, ServiceId, WallTime};
use std::sync::Arc;

fn config(data: &str) -> ConfigSpec {
    ConfigSpec { name: "site".into(), labels: Labels::new(), data: data.into(), templated: true }
}

fn view(data: &str) -> View {
    let (id, meta) = (ConfigId(1), Meta::default());
    let site = Config { id, meta, spec: config(data), content_version: 1, older: Vec::new() };
    Store::restore(1, [Object::Config(Arc::new(site))]).view()
}

fn service(edit: impl FnOnce(&mut ContainerSpec)) -> ServiceSpec {
    let mut container = ContainerSpec { image: "web:1".into(), ..ContainerSpec::default() };
    edit(&mut container);
    ServiceSpec::new("web", ServiceMode::Global, container)
}

fn refused(view: &View, spec: &ServiceSpec) -> String {
    fits::service(view, spec, ServiceId(1)).err().map(|refusal| refusal.to_string()).unwrap_or_default()
}

#[test]
fn a_wrong_template_is_refused_with_the_path_of_its_field() {
    let env = service(|spec| spec.env = vec!["A=1".into(), "B=2".into(), "C={{.Task.Slot".into()]);
    assert_eq!(refused(&view("x"), &env), "TaskTemplate.ContainerSpec.Env[2]: unclosed action");
    let mounted = |target: &str, name: &str| {
        service(|spec| {
            let source = MountSource::Volume {
                name: name.into(),
                driver: String::new(),
                driver_options: Default::default(),
                labels: Labels::new(),
                no_copy: false,
                subpath: String::new(),
            };
            spec.mounts = vec![Mount { target: target.into(), source, read_only: false }];
        })
    };
    assert_eq!(refused(&view("x"), &mounted("/{{.Task.Slot}}", "data-{{.Task.Slot}}")), "");
    let wrong = refused(&view("x"), &mounted("/data", "{{.Tsk}}"));
    assert!(wrong.starts_with("TaskTemplate.ContainerSpec.Mounts[0].Source: there is no .Tsk: use"), "{wrong}");
    let filled = mounted("data", "vol").task.container.mounts;
    assert!(mounts(&filled, |_| false).is_err(), "what came out is looked at on the node");
}

#[test]
fn a_service_cannot_use_a_template_that_names_what_it_does_not_have() {
    let file = FileTarget { name: "/site".into(), uid: String::new(), gid: String::new(), mode: 0o444 };
    let user = service(|spec| {
        spec.configs = vec![ConfigReference { id: ConfigId(1), name: "site".into(), file, version: 1 }];
    });
    assert_eq!(refused(&view("{{.Service.Name}} {{config \"site\"}}"), &user), "");
    let wrong = refused(&view("a\n{{secret \"key\"}}"), &user);
    let place = "TaskTemplate.ContainerSpec.Configs[0]: the template of config site, line 2";
    assert_eq!(wrong, format!("{place}: the service has no secret \"key\""));
}

#[test]
fn a_content_that_is_no_template_is_refused_and_a_secret_is_not_quoted() {
    let (view, now) = (Store::new().view(), WallTime(0));
    let wrong = create_config(&view, config("{{nope}}"), ConfigId(2), now).unwrap_err();
    assert_eq!(wrong.to_string(), "Data: line 1: function \"nope\" not defined");
    let data = Sensitive::new(b"{{nope}}".to_vec());
    let secret = SecretSpec { name: "key".into(), labels: Labels::new(), data, templated: true };
    let wrong = create_secret(&view, secret.clone(), crate::SecretId(2), now).unwrap_err();
    assert_eq!(wrong.to_string(), "Data: line 1: it is not a template that can be filled in");
    assert!(create_secret(&view, SecretSpec { templated: false, ..secret }, crate::SecretId(2), now).is_ok());
}

#[test]
fn new_data_is_a_template_only_when_it_is_said_to_be_and_old_data_stays_one() {
    let view = view("{{.Task.ID}}");
    let update = |data: Option<&str>, templated| {
        let data = data.map(|data| Sensitive::new(data.as_bytes().to_vec()));
        update_config(&view, ConfigId(1), 0, ContentWish { data, templated, ..ContentWish::default() }, WallTime(0))
    };
    let templated = |data, templated| match update(data, templated).expect("valid").changes.pop() {
        Some(crate::store::Change::ConfigSpec { spec, .. }) => spec.templated,
        other => panic!("{other:?}"),
    };
    assert!(templated(None, None));
    assert!(!templated(None, Some(false)));
    assert!(!templated(Some("{{nope}}"), None));
    assert!(templated(Some("{{.Task.ID}}"), Some(true)));
    assert!(update(Some("{{nope}}"), Some(true)).is_err());
}
