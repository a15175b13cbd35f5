//! A tree and a value to text.

use super::functions::{self, Function, is_true, kind};
use super::parse::{Base, Command, Condition, Kind, Node, Operand, Pipeline, Range, Tree};
use super::types::{Item, zero};
use super::{Fault, Limits, Lookup, Mode};
use serde_json::Value;
use std::cell::Cell;

/// Blocks and templates within one another while they are carried out: the parser bounds the blocks of one template, but
/// a template may name itself.
const DEPTH_MAX: usize = 100;

struct Scope<'a> {
    tree: &'a Tree,
    mode: Mode<'a>,
    /// What `$` is.
    root: Item<'a>,
    /// Whether `$` is the whole, not what a template within was given.
    is_whole: bool,
    lookup: Option<Lookup<'a>>,
    limits: Limits,
    /// Bytes of values made so far, and of steps taken. Templates have no loops but over values and by naming themselves:
    /// with the depth this bounds both time and memory.
    made: Cell<usize>,
    depth: usize,
    variables: Vec<(String, Item<'a>)>,
    out: String,
}

/// How a block ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) fn render(
    tree: &Tree,
    root: &Value,
    mode: Mode<'_>,
    limits: Limits,
    lookup: Option<Lookup<'_>>,
) -> Result<String, Fault> {
    let of = match mode {
        Mode::Typed(_, of) => Some(of),
        Mode::Row(_) | Mode::Raw | Mode::Headers | Mode::Strict => None,
    };
    let root = Item { value: Some(root.clone()), of };
    let mut scope = Scope {
        tree,
        mode,
        root: root.clone(),
        is_whole: true,
        lookup,
        limits,
        made: Cell::new(0),
        depth: 0,
        variables: Vec::new(),
        out: String::new(),
    };
    scope.block(&tree.nodes, &root, true)?;
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

impl<'a> Scope<'a> {
    /// `top`: the dot is the root, whose fields are known in a list.
    fn block(&mut self, nodes: &'a [Node], dot: &Item<'a>, top: bool) -> Result<Flow, Fault> {
        let variables = self.variables.len();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::new(format!("more than {DEPTH_MAX} blocks and templates within one another")));
        }
        let mut flow = Flow::Next;
        for node in nodes {
            flow = self.node(&node.kind, dot, top).map_err(|fault| fault.first_at(node.line))?;
            if self.out.len() > self.limits.output_bytes {
                return Err(Fault::new("the output is too long").first_at(node.line));
            }
            if flow != Flow::Next {
                break;
            }
        }
        self.depth -= 1;
        self.variables.truncate(variables);
        Ok(flow)
    }

    /// Notes that a value was made.
    fn make(&self, item: Item<'a>) -> Result<Item<'a>, Fault> {
        self.spend(item.value.as_ref().map_or(0, size))?;
        Ok(item)
    }

    fn spend(&self, bytes: usize) -> Result<(), Fault> {
        self.made.set(self.made.get().saturating_add(bytes));
        if self.made.get() > self.limits.work_bytes {
            return Err(Fault::new("the template does too much"));
        }
        Ok(())
    }

    fn print(&self, item: &Item<'a>) -> String {
        match self.mode {
            Mode::Typed(types, _) => types.print(item),
            Mode::Row(_) | Mode::Raw | Mode::Headers | Mode::Strict => functions::print(item.value.as_ref()),
        }
    }

    fn node(&mut self, node: &'a Kind, dot: &Item<'a>, top: bool) -> Result<Flow, Fault> {
        match node {
            Kind::Text(text) => self.out.push_str(text),
            Kind::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot, top)?;
                let text = self.print(&value);
                self.out.push_str(&text);
            }
            Kind::Declare(name, pipeline) => {
                let value = self.pipeline(pipeline, dot, top)?;
                self.variables.push((name.clone(), value));
            }
            Kind::Assign(name, pipeline) => {
                let value = self.pipeline(pipeline, dot, top)?;
                let found = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                found.ok_or_else(|| format!("undefined variable \"${name}\""))?.1 = value;
            }
            Kind::If(condition, body, otherwise) => {
                let before = self.variables.len();
                let holds = is_true(&self.condition(condition, dot, top)?);
                let flow = self.block(if holds { body } else { otherwise }, dot, top)?;
                self.variables.truncate(before);
                return Ok(flow);
            }
            Kind::With(condition, body, otherwise) => {
                let before = self.variables.len();
                let item = self.condition(condition, dot, top)?;
                let flow =
                    if is_true(&item) { self.block(body, &item, false)? } else { self.block(otherwise, dot, top)? };
                self.variables.truncate(before);
                return Ok(flow);
            }
            Kind::Range(range) => return self.range(range, dot, top),
            Kind::Include(name, of) => self.include(name, of.as_ref(), dot, top)?,
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn condition(&mut self, condition: &'a Condition, dot: &Item<'a>, top: bool) -> Result<Item<'a>, Fault> {
        let item = self.pipeline(&condition.of, dot, top)?;
        if let Some(name) = &condition.variable {
            self.variables.push((name.clone(), item.clone()));
        }
        Ok(item)
    }

    /// A template within this one sees what it is given, and none of the variables here.
    fn include(&mut self, name: &str, of: Option<&'a Pipeline>, dot: &Item<'a>, top: bool) -> Result<(), Fault> {
        const STEP_BYTES: usize = 64;
        self.spend(STEP_BYTES)?;
        let given = match of {
            Some(of) => self.pipeline(of, dot, top)?,
            None => Item { value: None, of: None },
        };
        let tree = self.tree;
        let nodes = tree.defined.get(name).ok_or_else(|| format!("template {name:?} not defined"))?;
        let variables = std::mem::take(&mut self.variables);
        let root = std::mem::replace(&mut self.root, given.clone());
        let is_whole = std::mem::replace(&mut self.is_whole, false);
        self.block(nodes, &given, false)?;
        (self.variables, self.root, self.is_whole) = (variables, root, is_whole);
        Ok(())
    }

    fn range(&mut self, range: &'a Range, dot: &Item<'a>, top: bool) -> Result<Flow, Fault> {
        let over = self.pipeline(&range.over, dot, top)?;
        let inner = over.of.and_then(super::Type::inner);
        let items: Vec<(Value, Value)> = match over.value {
            Some(Value::Array(items)) => items.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect(),
            Some(Value::Object(fields)) => fields.into_iter().map(|(k, v)| (Value::from(k), v)).collect(),
            None | Some(Value::Null) => Vec::new(),
            Some(_) if matches!(self.mode, Mode::Headers) => Vec::new(),
            Some(value @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) => {
                return Err(Fault::new(format!("range can't iterate over {}", kind(&value))));
            }
        };
        if items.is_empty() {
            return self.block(&range.otherwise, dot, top);
        }
        for (key, item) in items {
            let item = Item { value: Some(item), of: inner };
            let before = self.variables.len();
            if let Some(name) = &range.key {
                self.variables.push((name.clone(), Item::plain(key)));
            }
            if let Some(name) = &range.item {
                self.variables.push((name.clone(), item.clone()));
            }
            let flow = self.block(&range.body, &item, false)?;
            self.variables.truncate(before);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn pipeline(&self, pipeline: &'a Pipeline, dot: &Item<'a>, top: bool) -> Result<Item<'a>, Fault> {
        let mut piped: Option<Item<'a>> = None;
        for command in pipeline {
            let item = match command {
                Command::Value(operand) => self.operand(operand, dot, top)?,
                Command::Call(function, operands, origin) => {
                    // A name that was made may be made of a secret.
                    let is_written =
                        piped.is_none() && operands.iter().all(|operand| matches!(operand.base, Base::Constant(_)));
                    let args = operands.iter().map(|operand| self.operand(operand, dot, top));
                    let mut args = args.collect::<Result<Vec<_>, _>>()?;
                    args.extend(piped.take());
                    let answer = self.call(*function, &args);
                    let answer = answer.map_err(|fault| if is_written { fault } else { fault.unnamed() });
                    self.make(answer.map_err(|fault| fault.first_in(origin))?)?
                }
            };
            piped = Some(item);
        }
        Ok(piped.unwrap_or(Item { value: None, of: None }))
    }

    fn call(&self, function: Function, args: &[Item<'a>]) -> Result<Item<'a>, Fault> {
        let Some(named) = function.looks_up() else {
            return self.compute(function, args).map_err(Fault::from);
        };
        let (Some(lookup), [Item { value: Some(Value::String(name)), .. }]) = (self.lookup, args) else {
            return Err(Fault::new("it takes one name"));
        };
        lookup(named, name).map(|text| Item::plain(Value::from(text))).map_err(Fault::missing)
    }

    /// Functions that keep the type of their argument, or print, do so by it; the others see the JSON.
    fn compute(&self, function: Function, args: &[Item<'a>]) -> Result<Item<'a>, String> {
        use Function as F;
        let printed = |item: &Item<'a>| self.print(item);
        match function {
            F::And | F::Or if !args.is_empty() => {
                let wanted = function == F::Or;
                let chosen = args.iter().find(|item| is_true(item) == wanted).or(args.last());
                Ok(chosen.cloned().unwrap_or(Item { value: None, of: None }))
            }
            F::Index if !matches!(self.mode, Mode::Headers) => {
                let types =
                    args.iter().skip(1).try_fold(args.first().and_then(|item| item.of), |of, _| Some(of?.inner()));
                let of = types.flatten();
                let found = functions::index(args)?;
                Ok(Item { value: found.or_else(|| of.map_or(Some(Value::from("")), zero)), of })
            }
            F::Print => Ok(Item::plain(Value::from(functions::print_all(args, printed)))),
            F::Println => {
                let words: Vec<String> = args.iter().map(printed).collect();
                Ok(Item::plain(Value::from(format!("{}\n", words.join(" ")))))
            }
            F::Printf => Ok(Item::plain(Value::from(super::format::printf(args, printed)?))),
            F::Html | F::Js | F::Urlquery => {
                let text = functions::print_all(args, printed);
                Ok(Item::plain(Value::from(functions::escape(function, &text))))
            }
            F::Not => {
                let first = args.first().ok_or("wrong number of args for not")?;
                Ok(Item::plain(Value::Bool(!is_true(first))))
            }
            function => {
                let values: Vec<Option<Value>> = args.iter().map(|item| item.value.clone()).collect();
                functions::call(function, &values, self.mode).map(Item::plain)
            }
        }
    }

    fn operand(&self, operand: &'a Operand, dot: &Item<'a>, top: bool) -> Result<Item<'a>, Fault> {
        let grouped;
        let (base, known): (&Item<'a>, bool) = match &operand.base {
            Base::Dot => (dot, top),
            Base::Variable(name) if name.is_empty() => (&self.root, self.is_whole),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                (&found.ok_or_else(|| format!("undefined variable \"${name}\""))?.1, false)
            }
            Base::Constant(value) => {
                grouped = Item::plain(value.clone());
                (&grouped, false)
            }
            Base::Group(pipeline) => {
                grouped = self.pipeline(pipeline, dot, top)?;
                (&grouped, false)
            }
        };
        let mut at = base.clone();
        for (depth, field) in operand.fields.iter().enumerate() {
            let next = self.field(&at, field, known && depth == 0);
            at = next.map_err(|fault| fault.first_in(&operand.origin))?;
        }
        self.make(at)
    }

    /// `first`: of the root, whose fields are known in a list.
    fn field(&self, at: &Item<'a>, field: &str, first: bool) -> Result<Item<'a>, Fault> {
        if let (Mode::Typed(types, _), Some(of)) = (self.mode, at.of) {
            return types.field(of, at.value.as_ref(), field).map_err(Fault::missing);
        }
        let next = match &at.value {
            Some(Value::Object(fields)) => fields.get(field).cloned(),
            None | Some(Value::Null) => None,
            Some(_) if matches!(self.mode, Mode::Headers) => at.value.clone(),
            Some(value @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_))) => {
                let words = match (self.mode, value) {
                    (Mode::Strict, _) => format!("can't evaluate field {field}"),
                    (_, Value::String(_)) => format!("can't evaluate field {field} in type string"),
                    (_, value) => format!("can't evaluate field {field} in type {}", kind(value)),
                };
                return Err(Fault::new(words));
            }
        };
        let words = match self.mode {
            Mode::Strict => format!("can't evaluate field {field}"),
            Mode::Row(of) if first => format!("can't evaluate field {field} in type {of}"),
            Mode::Raw => format!("map has no entry for key {field:?}"),
            Mode::Row(_) | Mode::Typed(..) | Mode::Headers => return Ok(Item { value: next, of: None }),
        };
        next.map(|value| Item { value: Some(value), of: None }).ok_or_else(|| Fault::missing(words))
    }
}
