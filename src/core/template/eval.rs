//! A tree and a value to text.

use super::functions::{self, Function, is_true, kind, print};
use super::parse::{Base, Command, Kind, Node, Operand, Pipeline, Range};
use super::{Fault, Limits, Lookup, Mode};
use serde_json::Value;
use std::cell::Cell;

struct Scope<'a> {
    mode: Mode,
    root: &'a Value,
    lookup: Option<Lookup<'a>>,
    limits: Limits,
    /// Bytes of values made so far. Templates have no loops but over values, and no values but those they are given and
    /// those they make: this bounds both time and memory.
    made: Cell<usize>,
    variables: Vec<(String, Value)>,
    out: String,
}

pub(super) fn render(
    nodes: &[Node],
    root: &Value,
    mode: Mode,
    limits: Limits,
    lookup: Option<Lookup<'_>>,
) -> Result<String, Fault> {
    let made = Cell::new(0);
    let mut scope = Scope { mode, root, lookup, limits, made, variables: Vec::new(), out: String::new() };
    scope.block(nodes, root, true)?;
    Ok(scope.out)
}

/// Bytes of a value, about.
fn size(value: &Value) -> usize {
    const EACH: usize = 32;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => EACH,
        Value::String(text) => EACH + text.len(),
        Value::Array(items) => EACH + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => EACH + fields.iter().map(|(key, value)| EACH + key.len() + size(value)).sum::<usize>(),
    }
}

impl Scope<'_> {
    /// `top`: the dot is the root, whose fields are known in a list.
    fn block(&mut self, nodes: &[Node], dot: &Value, top: bool) -> Result<(), Fault> {
        let depth = self.variables.len();
        for node in nodes {
            self.node(&node.kind, dot, top).map_err(|fault| fault.first_at(node.line))?;
            if self.out.len() > self.limits.output_bytes {
                return Err(Fault::new("the output is too long").first_at(node.line));
            }
        }
        self.variables.truncate(depth);
        Ok(())
    }

    /// Notes that a value was made.
    fn make(&self, value: Value) -> Result<Value, Fault> {
        self.made.set(self.made.get().saturating_add(size(&value)));
        if self.made.get() > self.limits.work_bytes {
            return Err(Fault::new("the template does too much"));
        }
        Ok(value)
    }

    fn node(&mut self, node: &Kind, dot: &Value, top: bool) -> Result<(), Fault> {
        match node {
            Kind::Text(text) => self.out.push_str(text),
            Kind::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot, top)?;
                self.out.push_str(&print(value.as_ref()));
            }
            Kind::Declare(name, pipeline) => {
                let value = self.pipeline(pipeline, dot, top)?.unwrap_or(Value::Null);
                self.variables.push((name.clone(), value));
            }
            Kind::If(condition, body, otherwise) => {
                let holds = is_true(self.pipeline(condition, dot, top)?.as_ref());
                self.block(if holds { body } else { otherwise }, dot, top)?;
            }
            Kind::With(condition, body, otherwise) => match self.pipeline(condition, dot, top)? {
                Some(value) if is_true(Some(&value)) => self.block(body, &value, false)?,
                Some(_) | None => self.block(otherwise, dot, top)?,
            },
            Kind::Range(range) => self.range(range, dot, top)?,
        }
        Ok(())
    }

    fn range(&mut self, range: &Range, dot: &Value, top: bool) -> Result<(), Fault> {
        let over = self.pipeline(&range.over, dot, top)?;
        let items: Vec<(Value, Value)> = match over {
            Some(Value::Array(items)) => items.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect(),
            Some(Value::Object(fields)) => fields.into_iter().map(|(k, v)| (Value::from(k), v)).collect(),
            None | Some(Value::Null) => Vec::new(),
            Some(_) if self.mode == Mode::Headers => Vec::new(),
            Some(value @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) => {
                return Err(Fault::new(format!("range can't iterate over {}", kind(&value))));
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
    fn pipeline(&self, pipeline: &Pipeline, dot: &Value, top: bool) -> Result<Option<Value>, Fault> {
        let mut piped: Option<Option<Value>> = None;
        for command in pipeline {
            let value = match command {
                Command::Value(operand) => self.operand(operand, dot, top)?,
                Command::Call(function, operands) => {
                    // A name that was made may be made of a secret.
                    let is_written =
                        piped.is_none() && operands.iter().all(|operand| matches!(operand.base, Base::Constant(_)));
                    let args = operands.iter().map(|operand| self.operand(operand, dot, top));
                    let mut args = args.collect::<Result<Vec<_>, _>>()?;
                    args.extend(piped.take());
                    let answer = self.call(*function, &args);
                    Some(self.make(answer.map_err(|fault| if is_written { fault } else { fault.unnamed() })?)?)
                }
            };
            piped = Some(value);
        }
        Ok(piped.flatten())
    }

    fn call(&self, function: Function, args: &[Option<Value>]) -> Result<Value, Fault> {
        let Some(named) = function.looks_up() else {
            return Ok(functions::call(function, args, self.mode)?);
        };
        let (Some(lookup), [Some(Value::String(name))]) = (self.lookup, args) else {
            return Err(Fault::new("env, secret and config take one name"));
        };
        lookup(named, name).map(Value::from).map_err(Fault::missing)
    }

    fn operand(&self, operand: &Operand, dot: &Value, top: bool) -> Result<Option<Value>, Fault> {
        let grouped;
        let (base, known): (Option<&Value>, bool) = match &operand.base {
            Base::Dot => (Some(dot), top),
            Base::Variable(name) if name.is_empty() => (Some(self.root), true),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                (Some(&found.ok_or_else(|| format!("undefined variable \"${name}\""))?.1), false)
            }
            Base::Constant(value) => (Some(value), false),
            Base::Group(pipeline) => {
                grouped = self.pipeline(pipeline, dot, top)?;
                (grouped.as_ref(), false)
            }
        };
        let mut at = base;
        for (depth, field) in operand.fields.iter().enumerate() {
            let next = match at {
                Some(Value::Object(fields)) => fields.get(field),
                None | Some(Value::Null) => None,
                Some(_) if self.mode == Mode::Headers => at,
                Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                    return Err(Fault::new(format!("can't evaluate field {field}")));
                }
            };
            let first = known && depth == 0;
            if next.is_none() && (self.mode == Mode::Strict || first && self.mode == Mode::Row) {
                return Err(Fault::missing(format!("can't evaluate field {field}")));
            }
            at = next;
        }
        at.map(|value| self.make(value.clone())).transpose()
    }
}
