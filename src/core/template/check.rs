//! What a template names, without filling it in.

use super::parse::{Base, Command, Kind, Node, Operand, Pipeline};
use super::{Fault, Named, Template};
use serde_json::Value;

/// A name in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mention<'a> {
    /// A path of fields below the root: `.Service.Name`.
    Field(&'a [String]),
    /// The constant argument of `env`, `secret` or `config`.
    Named(Named, &'a str),
}

impl Template {
    /// Asks `known` about every name of which it is certain what it means; the first error is the answer. Fields of
    /// variables and of the dot within `with` and `range` are seen when they are filled in.
    pub fn check(&self, known: &dyn Fn(Mention<'_>) -> Result<(), String>) -> Result<(), Fault> {
        block(&self.tree.nodes, true, known)?;
        // In a template within it the dot and `$` are what that is given.
        let named = |mention: Mention<'_>| match mention {
            Mention::Field(_) => Ok(()),
            mention @ Mention::Named(..) => known(mention),
        };
        self.tree.defined.values().try_for_each(|nodes| block(nodes, false, &named))
    }
}

type Known<'a> = &'a dyn Fn(Mention<'_>) -> Result<(), String>;

/// `top`: the dot is the root.
fn block(nodes: &[Node], top: bool, known: Known<'_>) -> Result<(), Fault> {
    nodes.iter().try_for_each(|node| {
        let checked = match &node.kind {
            Kind::Text(_) => Ok(()),
            Kind::Print(of) | Kind::Declare(_, of) | Kind::Assign(_, of) | Kind::Include(_, Some(of)) => {
                pipeline(of, top, known)
            }
            Kind::Include(_, None) | Kind::Break | Kind::Continue => Ok(()),
            Kind::If(condition, body, otherwise) => pipeline(&condition.of, top, known)
                .and_then(|()| block(body, top, known))
                .and_then(|()| block(otherwise, top, known)),
            Kind::With(condition, body, otherwise) => pipeline(&condition.of, top, known)
                .and_then(|()| block(body, false, known))
                .and_then(|()| block(otherwise, top, known)),
            Kind::Range(range) => pipeline(&range.over, top, known)
                .and_then(|()| block(&range.body, false, known))
                .and_then(|()| block(&range.otherwise, top, known)),
        };
        checked.map_err(|fault| fault.first_at(node.line))
    })
}

fn pipeline(pipeline: &Pipeline, top: bool, known: Known<'_>) -> Result<(), Fault> {
    pipeline.iter().try_for_each(|command| match command {
        Command::Value(of) => operand(of, top, known),
        Command::Call(function, operands, _) => {
            if let [Operand { base: Base::Constant(Value::String(name)), .. }] = operands.as_slice()
                && let Some(named) = function.looks_up()
            {
                known(Mention::Named(named, name)).map_err(Fault::missing)?;
            }
            operands.iter().try_for_each(|of| operand(of, top, known))
        }
    })
}

fn operand(operand: &Operand, top: bool, known: Known<'_>) -> Result<(), Fault> {
    match &operand.base {
        Base::Dot if top => known(Mention::Field(&operand.fields)).map_err(Fault::missing),
        Base::Variable(name) if name.is_empty() => known(Mention::Field(&operand.fields)).map_err(Fault::missing),
        Base::Dot | Base::Variable(_) | Base::Constant(_) => Ok(()),
        Base::Group(of) => pipeline(of, top, known),
    }
}
