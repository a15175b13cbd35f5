//! Templates for the output of commands (`--format`): core's engine with docker's ways for rows and headers.

use crate::error::{CliError, Result};
use serde_json::Value;
use swarm_core::template::{Fault, Limits, Mode, Uses};

/// Of a command's output: far more than a person reads.
const LIMITS: Limits = Limits { output_bytes: 256 << 20, work_bytes: 1 << 30 };

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template(swarm_core::template::Template);

impl Template {
    /// # Errors
    /// When the text is no template, or uses what is not supported.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = swarm_core::template::Template::parse(text, Uses::Fields);
        parsed.map(Self).map_err(|fault| {
            CliError::hinted(
                format!("template parsing error: {fault}"),
                "templates are Go's, such as '{{.ID}}: {{.Name}}', 'table {{.Name}}' or 'json'",
            )
        })
    }

    /// The text for one row of a list.
    pub fn render(&self, row: &Value) -> Result<String> {
        self.run(row, Mode::Row)
    }

    /// The text for one object.
    pub fn render_object(&self, object: &Value) -> Result<String> {
        self.run(object, Mode::Object)
    }

    /// The headers of a table with this template.
    pub fn render_headers(&self, headers: &Value) -> Result<String> {
        self.run(headers, Mode::Headers)
    }

    fn run(&self, value: &Value, mode: Mode) -> Result<String> {
        let wrong = |fault: Fault| CliError::usage(format!("template parsing error: {fault}"));
        self.0.render(value, mode, LIMITS).map_err(wrong)
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
        let parsed = match Template::parse(template) {
            Ok(parsed) => parsed,
            Err(error) => return format!("parse: {error}"),
        };
        parsed.render(&value).unwrap_or_else(|error| error.to_string())
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
    fn what_is_wrong_is_named() {
        assert_eq!(render("{{.Nmae}}"), "template parsing error: can't evaluate field Nmae");
        assert_eq!(render("{{nope .ID}}"), "parse: template parsing error: function \"nope\" not defined");
        assert_eq!(render("{{if .ID}}"), "parse: template parsing error: unexpected EOF: {{if}} has no {{end}}");
        assert_eq!(render("{{.ID"), "parse: template parsing error: unclosed action");
        assert!(render("{{template \"x\"}}").contains("not supported"));
    }
}
