//! A tree and a value to text.

use super::Mode;
use super::functions::{self, is_true, print};
use super::parse::{Base, Command, Node, Operand, Pipeline, Range};
use serde_json::Value;

/// Values and functions have no loops, so a template ends; what it may print is limited all the same, in bytes.
const OUTPUT_BYTES_MAX: usize = 256 << 20;

struct Scope<'a> {
    mode: Mode,
    root: &'a Value,
    variables: Vec<(String, Value)>,
    out: String,
}

pub(super) fn render(nodes: &[Node], root: &Value, mode: Mode) -> Result<String, String> {
    let mut scope = Scope { mode, root, variables: Vec::new(), out: String::new() };
    scope.block(nodes, root, true)?;
    Ok(scope.out)
}

impl Scope<'_> {
    /// `top`: the dot is the root, whose fields are known in a list.
    fn block(&mut self, nodes: &[Node], dot: &Value, top: bool) -> Result<(), String> {
        let depth = self.variables.len();
        for node in nodes {
            self.node(node, dot, top)?;
            if self.out.len() > OUTPUT_BYTES_MAX {
                return Err("the output is too long".to_owned());
            }
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value, top: bool) -> Result<(), String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot, top)?;
                self.out.push_str(&print(value.as_ref()));
            }
            Node::Declare(name, pipeline) => {
                let value = self.pipeline(pipeline, dot, top)?.unwrap_or(Value::Null);
                self.variables.push((name.clone(), value));
            }
            Node::If(condition, body, otherwise) => {
                let holds = is_true(self.pipeline(condition, dot, top)?.as_ref());
                self.block(if holds { body } else { otherwise }, dot, top)?;
            }
            Node::With(condition, body, otherwise) => match self.pipeline(condition, dot, top)? {
                Some(value) if is_true(Some(&value)) => self.block(body, &value, false)?,
                Some(_) | None => self.block(otherwise, dot, top)?,
            },
            Node::Range(range) => self.range(range, dot, top)?,
        }
        Ok(())
    }

    fn range(&mut self, range: &Range, dot: &Value, top: bool) -> Result<(), String> {
        let over = self.pipeline(&range.over, dot, top)?;
        let items: Vec<(Value, Value)> = match over {
            Some(Value::Array(items)) => items.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect(),
            Some(Value::Object(fields)) => fields.into_iter().map(|(k, v)| (Value::from(k), v)).collect(),
            None | Some(Value::Null) => Vec::new(),
            Some(_) if self.mode == Mode::Headers => Vec::new(),
            Some(value @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) => {
                return Err(format!("range can't iterate over {}", print(Some(&value))));
            }
        };
        if items.is_empty() {
            return self.block(&range.otherwise, dot, top);
        }
        for (key, item) in items {
            let depth = self.variables.len();
            if let Some(name) = &range.key {
                self.variables.push((name.clone(), key));
            }
            if let Some(name) = &range.item {
                self.variables.push((name.clone(), item.clone()));
            }
            self.block(&range.body, &item, false)?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    /// None: a field that is not there.
    fn pipeline(&self, pipeline: &Pipeline, dot: &Value, top: bool) -> Result<Option<Value>, String> {
        let mut piped: Option<Option<Value>> = None;
        for command in pipeline {
            let value = match command {
                Command::Value(operand) => self.operand(operand, dot, top)?,
                Command::Call(function, operands) => {
                    let args = operands.iter().map(|operand| self.operand(operand, dot, top));
                    let mut args = args.collect::<Result<Vec<_>, _>>()?;
                    args.extend(piped.take());
                    Some(functions::call(*function, &args, self.mode)?)
                }
            };
            piped = Some(value);
        }
        Ok(piped.flatten())
    }

    fn operand(&self, operand: &Operand, dot: &Value, top: bool) -> Result<Option<Value>, String> {
        let (base, known) = match &operand.base {
            Base::Dot => (Some(dot.clone()), top),
            Base::Variable(name) if name.is_empty() => (Some(self.root.clone()), true),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                (Some(found.ok_or_else(|| format!("undefined variable \"${name}\""))?.1.clone()), false)
            }
            Base::Constant(value) => (Some(value.clone()), false),
            Base::Group(pipeline) => (self.pipeline(pipeline, dot, top)?, false),
        };
        let mut at = base;
        for (depth, field) in operand.fields.iter().enumerate() {
            let next = match &at {
                Some(Value::Object(fields)) => fields.get(field).cloned(),
                None | Some(Value::Null) => None,
                Some(_) if self.mode == Mode::Headers => at.clone(),
                Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                    return Err(format!("can't evaluate field {field}"));
                }
            };
            if next.is_none() && known && depth == 0 && self.mode == Mode::Row {
                return Err(format!("can't evaluate field {field}"));
            }
            at = next;
        }
        Ok(at)
    }
}
