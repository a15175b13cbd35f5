//! Lists as tables, templates or JSON lines.
//!
//! A row is a JSON object with the fields docker gives to `--format`; a table is itself a template
//! whose cells are parted by tabs.

use crate::config_file;
use crate::error::Result;
use crate::template::Template;
use serde_json::{Map, Value};
use std::io::Write as _;

/// Space between columns, and least width of a column with it, in characters.
const PADDING: usize = 3;
const WIDTH_MIN: usize = 10;
/// The field of a row that holds the labels of what it shows, for `.Label "KEY"`; it is none of the row's fields.
pub const LABEL: &str = "Label";

/// How a list is printed.
#[derive(Clone, Debug, Default)]
pub struct Output<'a> {
    pub quiet: bool,
    pub format: Option<&'a str>,
}

/// What a list looks like by default.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Fields and their headers.
    pub headers: &'static [(&'static str, &'static str)],
    /// Cells of a row, without the word `table`.
    pub template: &'static str,
    /// The field that `--quiet` prints alone.
    pub quiet: &'static str,
    /// What a row is for Go: errors name it.
    pub row: &'static str,
    /// What `--format raw` means; empty: nothing.
    pub raw: &'static str,
    /// The default format in docker's configuration file; empty: it has none.
    pub configured: &'static str,
}

impl Table {
    /// A table that docker does not have.
    pub const OURS: Self = Self { headers: &[], template: "", quiet: "ID", row: "a row", raw: "", configured: "" };

    /// Prints rows on standard output.
    pub fn print(&self, rows: &[Value], output: &Output<'_>) -> Result<()> {
        let configured = match output {
            Output { quiet: false, format: None | Some("") } => config_file::format(self.configured),
            Output { .. } => None,
        };
        let format = configured.as_deref().or(output.format);
        let text = self.render(rows, &Output { quiet: output.quiet, format })?;
        write_out(&text);
        Ok(())
    }

    /// The text of a list.
    pub fn render(&self, rows: &[Value], output: &Output<'_>) -> Result<String> {
        let format = match output.format {
            None | Some("" | "table") if output.quiet => return Ok(self.names(rows)),
            None | Some("" | "table") => return self.table(self.template, rows),
            Some("json") => "{{json .}}".to_owned(),
            Some("raw") if !self.raw.is_empty() => self.raw(output.quiet),
            // In a shell's single quotes these two arrive as written.
            Some(format) => format.replace("\\t", "\t").replace("\\n", "\n"),
        };
        match format.strip_prefix("table") {
            Some(template) => self.table(template.trim(), rows),
            None => {
                let template = Template::for_rows(&format)?;
                let mut out = String::new();
                for row in rows {
                    out.push_str(&self.row(&template, row)?);
                    out.push('\n');
                }
                Ok(out)
            }
        }
    }

    fn raw(&self, quiet: bool) -> String {
        let name = format!("{{{{.{}}}}}", self.quiet);
        let named = self.raw.lines().find(|line| quiet && line.contains(&name));
        named.unwrap_or(self.raw).to_owned()
    }

    fn row(&self, template: &Template, row: &Value) -> Result<String> {
        match row.get(LABEL) {
            Some(labels) => {
                let fields = row.as_object().into_iter().flatten().filter(|(key, _)| *key != LABEL);
                let shown: Map<String, Value> = fields.map(|(key, value)| (key.clone(), value.clone())).collect();
                template.render_row(&Value::from(shown), self.row, Some(labels))
            }
            None => template.render_row(row, self.row, None),
        }
    }

    fn names(&self, rows: &[Value]) -> String {
        let name = |row: &Value| match &row[self.quiet] {
            Value::String(text) => format!("{text}\n"),
            other => format!("{other}\n"),
        };
        rows.iter().map(name).collect()
    }

    fn table(&self, template: &str, rows: &[Value]) -> Result<String> {
        let template = Template::for_rows(template)?;
        let headers: Map<String, Value> =
            self.headers.iter().map(|(field, header)| ((*field).to_owned(), Value::from(*header))).collect();
        let mut lines = vec![template.render_headers(&Value::from(headers))?];
        for row in rows {
            lines.push(self.row(&template, row)?);
        }
        Ok(align(&lines))
    }
}

/// Aligns cells parted by tabs.
pub fn align(lines: &[String]) -> String {
    let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let widths = cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        (widths.max().unwrap_or(0) + PADDING).max(WIDTH_MIN)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in &cells {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let used = cell.chars().count();
                out.extend(std::iter::repeat_n(' ', widths[column] - used));
            }
        }
        out.push('\n');
    }
    out
}

/// Writes to standard output. A reader that went away (`| head`) ends the program quietly.
pub fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PETS: Table = Table {
        headers: &[("ID", "ID"), ("Name", "NAME"), ("Kind", "KIND OF PET")],
        template: "{{.ID}}\t{{.Name}}\t{{.Kind}}",
        raw: "id: {{.ID}}\nname: {{.Name}}\n",
        ..Table::OURS
    };

    fn rows() -> Vec<Value> {
        vec![json!({"ID": "1", "Name": "a very long name", "Kind": "cat"}), json!({"ID": "2", "Name": "b", "Kind": ""})]
    }

    fn render(format: Option<&str>, quiet: bool) -> String {
        PETS.render(&rows(), &Output { quiet, format }).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let expected = "\
ID        NAME               KIND OF PET
1         a very long name   cat
2         b                  \n";
        assert_eq!(render(None, false), expected);
    }

    #[test]
    fn formats_choose_fields() {
        assert_eq!(render(Some("{{.Name}}"), false), "a very long name\nb\n");
        assert_eq!(
            render(Some("table {{.Kind}}\\t{{.ID}}"), false),
            "KIND OF PET   ID\ncat           1\n              2\n"
        );
        assert_eq!(render(None, true), "1\n2\n");
        assert!(render(Some("json"), false).starts_with("{\"ID\":\"1\""));
    }

    #[test]
    fn a_format_of_one_s_own_counts_more_than_quiet() {
        assert_eq!(render(Some("{{.Name}}"), true), "a very long name\nb\n");
        assert_eq!(render(Some("table {{.ID}}"), true), "ID\n1\n2\n");
        assert_eq!(render(Some("table"), true), "1\n2\n");
    }

    #[test]
    fn raw_is_a_line_for_each_field() {
        assert_eq!(render(Some("raw"), false), "id: 1\nname: a very long name\n\nid: 2\nname: b\n\n");
        assert_eq!(render(Some("raw"), true), "id: 1\nid: 2\n");
    }

    #[test]
    fn a_label_is_a_column_called_by_the_last_part_of_its_name() {
        let rows = [json!({"Name": "web", "Label": {"com.tier-of_it": "front"}}), json!({"Name": "db", "Label": {}})];
        let format = "table {{.Name}}\t{{.Label \"com.tier-of_it\"}}";
        let text = PETS.render(&rows, &Output { quiet: false, format: Some(format) });
        assert_eq!(text.unwrap_or_default(), "NAME      tier of it\nweb       front\ndb        \n");
        let json = PETS.render(&rows[..1], &Output { quiet: false, format: Some("json") });
        assert_eq!(json.unwrap_or_default(), "{\"Name\":\"web\"}\n", "it is no field of the row");
    }

    #[test]
    fn an_empty_list_still_has_its_headers() {
        let text = PETS.render(&[], &Output::default()).unwrap_or_default();
        assert_eq!(text, "ID        NAME      KIND OF PET\n");
    }
}
