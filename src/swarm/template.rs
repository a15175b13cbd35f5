//! Templates for the output of commands (`--format`): core's engine with docker's ways for rows, headers and objects.

use crate::error::{CliError, Result};
use crate::names::{Object, TYPES};
use serde_json::Value;
use swarm_core::template::{Fault, Limits, Lookup, Mode, Uses};

/// Of a command's output: far more than a person reads.
const LIMITS: Limits = Limits { output_bytes: 256 << 20, work_bytes: 1 << 30 };
const HINT: &str = "templates are Go's, such as '{{.ID}}: {{.Name}}', 'table {{.Name}}' or 'json'";

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template(swarm_core::template::Template);

fn wrong(fault: &Fault) -> CliError {
    CliError::usage(format!("template parsing error: {}", fault.as_in_go("")))
}

impl Template {
    /// For the rows of a list.
    ///
    /// # Errors
    /// When the text is no template.
    pub fn for_rows(text: &str) -> Result<Self> {
        let parsed = swarm_core::template::Template::parse(text, Uses::Rows);
        parsed.map(Self).map_err(|fault| CliError::hinted(wrong(&fault).to_string(), HINT))
    }

    /// For objects.
    ///
    /// # Errors
    /// When the text is no template.
    pub fn for_objects(text: &str) -> std::result::Result<Self, Fault> {
        swarm_core::template::Template::parse(text, Uses::Fields).map(Self)
    }

    /// The text for one row of a list, which is `of` this type for Go, with the labels of what it shows.
    pub fn render_row(&self, row: &Value, of: &str, labels: Option<&Value>) -> Result<String> {
        let lookup = |_, key: &str| match labels {
            Some(labels) => Ok(labels[key].as_str().unwrap_or("").to_owned()),
            None => Err(format!("can't evaluate field Label in type {of}")),
        };
        self.run(row, Mode::Row(of), &lookup)
    }

    /// The headers of a table with this template. Of a label it is the last part of its name.
    pub fn render_headers(&self, headers: &Value) -> Result<String> {
        let lookup = |_, key: &str| {
            let last = key.rsplit('.').next().unwrap_or(key);
            Ok(last.replace(['-', '_'], " "))
        };
        self.run(headers, Mode::Headers, &lookup)
    }

    fn run(&self, value: &Value, mode: Mode<'_>, lookup: Lookup<'_>) -> Result<String> {
        self.0.render_with(value, mode, LIMITS, lookup).map_err(|fault| wrong(&fault))
    }

    /// The text for one object, by the names and types of Go's.
    pub fn render_typed(&self, value: &Value, object: Object) -> std::result::Result<String, Fault> {
        match object.of() {
            Some(of) => self.0.render(value, Mode::Typed(&TYPES, &of), LIMITS),
            None => self.render_raw(value),
        }
    }

    /// The text for one object, by the keys of its JSON.
    pub fn render_raw(&self, value: &Value) -> std::result::Result<String, Fault> {
        self.0.render(value, Mode::Raw, LIMITS)
    }

    /// As docker inspects: by Go's names; when that fails, by the keys of the JSON.
    pub fn render_inspected(&self, value: &Value, object: Object) -> Result<String> {
        self.render_typed(value, object).or_else(|fault| self.render_raw(value).map_err(|_| wrong(&fault)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str) -> String {
        let value = json!({
            "ID": "abc123", "Name": "web", "On": true, "Off": false, "Empty": "", "N": 3,
            "Spec": {"Labels": {"b": "2", "a.b/c": "1"}}, "List": ["x", "y"], "Null": null,
        });
        let parsed = match Template::for_rows(template) {
            Ok(parsed) => parsed,
            Err(error) => return error.to_string(),
        };
        parsed.render_row(&value, "*pet", None).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn fields_and_text() {
        assert_eq!(render("{{.ID}}: {{ .Name }}!"), "abc123: web!");
        assert_eq!(render("{{.Spec.Labels}}"), "map[a.b/c:1 b:2]");
        assert_eq!(render("{{.List}} {{.N}} {{.On}}"), "[x y] 3 true");
        assert_eq!(render("{{.Spec.Missing}}"), "<no value>");
    }

    #[test]
    fn functions_and_pipes() {
        assert_eq!(render("{{json .Spec.Labels}}"), r#"{"a.b/c":"1","b":"2"}"#);
        assert_eq!(render("{{.Name | upper}} {{upper .Name | lower}} {{title .Name}}"), "WEB web Web");
        assert_eq!(render("{{truncate .ID 3}} {{pad .Name 1 2}}|"), "abc  web  |");
        assert_eq!(render(r#"{{join .List ","}} {{index .List 1}} {{index .Spec.Labels "a.b/c"}}"#), "x,y y 1");
        assert_eq!(
            render(r#"{{println .Name}}{{print .N .Name}}{{printf "%s=%d %q" .Name .N .ID}}"#),
            "web\n3webweb=3 \"abc123\""
        );
        assert_eq!(render(r#"{{len .List}} {{index (split "a:b" ":") 1}}"#), "2 b");
    }

    #[test]
    fn conditions() {
        assert_eq!(render("{{if .On}}yes{{else}}no{{end}} {{if .Off}}yes{{else}}no{{end}}"), "yes no");
        assert_eq!(render(r#"{{if eq .Name "db"}}1{{else if eq .Name "web"}}2{{else}}3{{end}}"#), "2");
        assert_eq!(
            render(r#"{{if and .On (not .Off)}}a{{end}}{{if or .Empty .Null}}b{{end}}{{if gt .N 2}}c{{end}}"#),
            "ac"
        );
        assert_eq!(render("{{with .Spec}}{{.Labels.b}}{{end}}{{with .Empty}}x{{else}}-{{end}}"), "2-");
    }

    #[test]
    fn ranges_and_variables() {
        assert_eq!(render("{{range .List}}<{{.}}>{{end}}"), "<x><y>");
        assert_eq!(render("{{range $i, $v := .List}}{{$i}}={{$v}} {{end}}"), "0=x 1=y ");
        assert_eq!(render("{{range $k, $v := .Spec.Labels}}{{$k}}={{$v}};{{end}}"), "a.b/c=1;b=2;");
        assert_eq!(render("{{range .Null}}x{{else}}none{{end}}"), "none");
        assert_eq!(render("{{$n := .Name}}{{range .List}}{{$n}}{{$.N}}{{.}} {{end}}"), "web3x web3y ");
    }

    #[test]
    fn trimming_and_comments() {
        assert_eq!(render("a {{- .N -}} b{{/* no */}}c"), "a3bc");
    }

    #[test]
    fn variables_change_and_blocks_name_them() {
        assert_eq!(render(r#"{{$x := .Name}}{{$x = "y"}}{{$x}}"#), "y");
        assert_eq!(render(r#"{{$n := 0}}{{range .List}}{{$n = .}}{{end}}{{$n}}"#), "y", "also those outside a block");
        assert_eq!(render("{{with $n := .Name}}{{$n}}{{end}}{{if $n := .N}}{{$n}}{{end}}"), "web3");
        assert_eq!(render("{{with .Empty}}a{{else with .Name}}{{.}}{{end}}"), "web");
        assert!(render("{{if $n := .N}}{{end}}{{$n}}").contains("undefined variable"));
    }

    #[test]
    fn ranges_can_be_left() {
        assert_eq!(render(r#"{{range .List}}{{if eq . "y"}}{{break}}{{end}}{{.}}{{end}}"#), "x");
        assert_eq!(render(r#"{{range .List}}{{if eq . "x"}}{{continue}}{{end}}{{.}}{{end}}"#), "y");
        assert_eq!(render("{{break}}"), "template parsing error: template: :1: {{break}} outside {{range}}");
    }

    #[test]
    fn templates_within_templates() {
        assert_eq!(render(r#"{{define "a"}}<{{.}}>{{end}}{{template "a" .Name}}{{template "a" .N}}"#), "<web><3>");
        assert_eq!(render(r#"{{block "b" .Name}}[{{.}}]{{end}}"#), "[web]");
        assert_eq!(render(r#"{{template "x"}}"#), "template parsing error: template: :1: template \"x\" not defined");
        assert!(render(r#"{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}"#).contains("within one another"));
    }

    #[test]
    fn printf_has_widths_and_precisions() {
        assert_eq!(
            render(r#"{{printf "%-6s|%6s|%.2s|%5d|%05d|%x|%X" .Name .Name .ID .N .N .N .Name}}"#),
            "web   |   web|ab|    3|00003|3|776562"
        );
        assert_eq!(
            render(r#"{{printf "%.2f %e %+d %q %T %%" 1.5 1500.0 .N .Name .Name}}"#),
            "1.50 %!e(int=1500) +3 \"web\" string %"
        );
        assert_eq!(
            render(r#"{{printf "%d %d" .Name}} {{printf "%s" .Name .N}}"#),
            "%!d(string=web) %!d(MISSING) web%!(EXTRA int=3)"
        );
    }

    #[test]
    fn parts_pages_and_queries() {
        assert_eq!(render(r#"{{slice .Name 0 2}} {{slice .Name 1}} {{slice .List 1 2}}"#), "we eb [y]");
        assert_eq!(
            render(r#"{{html "<a&'>"}} {{urlquery "a b/c"}} {{js "it's"}}"#),
            "&lt;a&amp;&#39;&gt; a+b%2Fc it\\'s"
        );
        assert_eq!(render(r#"{{print 1 2 "a"}} {{print "a" 1 2}} {{1.5}} {{true}}"#), "1 2a a1 2 1.5 true");
        assert!(render("{{slice .Name 1 9}}").contains("out of range"));
    }

    #[test]
    fn what_is_wrong_is_told_in_docker_s_words() {
        let wrong = |template: &str| {
            let told = render(template);
            told.strip_prefix("template parsing error: template: :1").map_or(told.clone(), str::to_owned)
        };
        assert_eq!(wrong("{{.Nmae}}"), r#":2: executing "" at <.Nmae>: can't evaluate field Nmae in type *pet"#);
        assert_eq!(wrong("a {{.Name.X}}"), r#":9: executing "" at <.Name.X>: can't evaluate field X in type string"#);
        assert_eq!(wrong("{{nope .ID}}"), r#": function "nope" not defined"#);
        assert_eq!(wrong("{{if}}"), ": missing value for if");
        assert_eq!(wrong("{{if .ID}}"), ": unexpected EOF: {{if}} has no {{end}}");
        assert_eq!(wrong("{{.ID"), ": unclosed action");
    }

    #[test]
    fn objects_are_reached_by_go_s_names_and_types_and_then_by_their_keys() {
        let service = json!({
            "ID": "s1", "Version": {"Index": 7}, "CreatedAt": "2024-05-01T10:00:00.5Z", "Waiting": "for x",
            "Spec": {"Name": "web", "Labels": {"a": "1"}, "UpdateConfig": {"Delay": 10_000_000_000i64},
                "Mode": {"Replicated": {"Replicas": 3}}},
        });
        let render = |template: &str, value: &Value, object| match Template::for_objects(template) {
            Ok(parsed) => parsed.render_inspected(value, object).unwrap_or_else(|error| error.to_string()),
            Err(fault) => fault.to_string(),
        };
        let service = |template: &str| render(template, &service, Object::Service);
        assert_eq!(
            service("{{.Spec.UpdateConfig.Delay}} {{.CreatedAt}} {{.Version}} {{.Version.Index}}"),
            "10s 2024-05-01 10:00:00.5 +0000 UTC 7 7"
        );
        assert_eq!(
            service("{{.Spec.Annotations.Name}} {{.Meta.CreatedAt}} {{.Spec.Mode.Replicated.Replicas}}"),
            "web 2024-05-01 10:00:00.5 +0000 UTC 3"
        );
        assert_eq!(
            service("{{.JobStatus}} {{.Spec.TaskTemplate.ForceUpdate}} [{{.Spec.TaskTemplate.Runtime}}]"),
            "<nil> 0 []"
        );
        assert_eq!(
            service("{{.Spec.Labels.nope}} {{json .Spec.Labels}} {{.Waiting}}"),
            r#"<no value> {"a":"1"} for x"#
        );
        assert_eq!(service("{{range .Endpoint.Ports}}x{{else}}none{{end}}"), "none");
        assert_eq!(
            service("{{.Spec.Nope}}"),
            "template parsing error: template: :1:7: executing \"\" at <.Spec.Nope>: \
             can't evaluate field Nope in type swarm.ServiceSpec"
        );
        assert_eq!(
            service("{{.JobStatus.LastExecution}}"),
            "template parsing error: template: :1:12: executing \"\" \
             at <.JobStatus.LastExecution>: nil pointer evaluating *swarm.JobStatus.LastExecution"
        );
        let network = json!({"Id": "n1", "Name": "net"});
        assert_eq!(render("{{.ID}} {{.Name}}", &network, Object::Network), "n1 net");
        assert_eq!(render("{{.Id}}", &network, Object::Network), "n1");
        let config = json!({"Spec": {"Data": "aGk="}});
        assert_eq!(render(r#"{{.Spec.Data}} {{printf "%s" .Spec.Data}}"#, &config, Object::Config), "[104 105] hi");
    }
}
