//! Go's `printf`: flags, width, precision and verbs of package `fmt`.

use super::types::Item;
use serde_json::Value;

/// Largest width and precision; a row of a terminal is far shorter.
const WIDTH_MAX: usize = 1000;

/// A verb with what is said before it: `%-10.3s`.
#[derive(Debug, Default)]
struct Verb {
    left: bool,
    plus: bool,
    blank: bool,
    zero: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

/// The format is the first argument. Verbs: `v s q d t T x X o b c U e f g %`.
pub(super) fn printf<'t>(args: &[Item<'t>], printed: impl Fn(&Item<'t>) -> String) -> Result<String, String> {
    let Some(Item { value: Some(Value::String(format)), .. }) = args.first() else {
        return Err("printf wants a format".to_owned());
    };
    let mut args = args.iter().skip(1);
    let mut out = String::new();
    let mut rest = format.as_str();
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (verb, used) = verb(&rest[at + 1..])?;
        rest = &rest[at + 1 + used..];
        if verb.letter == '%' {
            out.push('%');
            continue;
        }
        match args.next() {
            Some(item) => out.push_str(&verb.apply(item, printed(item))?),
            None => out.push_str(&format!("%!{}(MISSING)", verb.letter)),
        }
    }
    out.push_str(rest);
    let extra: Vec<String> = args.map(|item| format!("{}={}", go_type(item), printed(item))).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

/// The verb at the beginning, and its bytes.
fn verb(text: &str) -> Result<(Verb, usize), String> {
    let mut verb = Verb::default();
    let flags = text.len() - text.trim_start_matches(['-', '+', ' ', '0', '#']).len();
    for flag in text[..flags].chars() {
        match flag {
            '-' => verb.left = true,
            '+' => verb.plus = true,
            ' ' => verb.blank = true,
            '0' => verb.zero = true,
            _ => verb.sharp = true,
        }
    }
    let mut at = flags;
    verb.width = number(text, &mut at)?;
    if text[at..].starts_with('.') {
        at += 1;
        verb.precision = Some(number(text, &mut at)?);
    }
    verb.letter = text[at..].chars().next().ok_or("printf: the verb after % is missing")?;
    let used = at + verb.letter.len_utf8();
    Ok((verb, used))
}

fn number(text: &str, at: &mut usize) -> Result<usize, String> {
    let digits = text[*at..].len() - text[*at..].trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let found = &text[*at..*at + digits];
    *at += digits;
    let number = if found.is_empty() { Ok(0) } else { found.parse().map_err(|_| ()) };
    number.ok().filter(|number| *number <= WIDTH_MAX).ok_or_else(|| format!("printf: more than {WIDTH_MAX}"))
}

impl Verb {
    fn apply(&self, item: &Item<'_>, printed: String) -> Result<String, String> {
        let null = Value::Null;
        let value = item.value.as_ref().unwrap_or(&null);
        let bytes = item.of.and_then(|of| of.text_of_bytes(value));
        let text = |printed: String| bytes.clone().unwrap_or(printed);
        let body = match (self.letter, value) {
            ('v', _) => self.signed(printed, value),
            ('s', _) => self.cut(text(printed)),
            ('q', _) => Value::from(self.cut(text(printed))).to_string(),
            ('t', Value::Bool(_)) => printed,
            ('T', _) => go_type(item).to_owned(),
            ('x' | 'X', Value::String(_)) => {
                let hex: String = text(printed).bytes().map(|byte| format!("{byte:02x}")).collect();
                if self.letter == 'X' { hex.to_uppercase() } else { hex }
            }
            ('d' | 'x' | 'X' | 'o' | 'b' | 'c' | 'U', Value::Number(number)) if !number.is_f64() => self.whole(value),
            ('e' | 'f' | 'F' | 'g', Value::Number(number)) if number.is_f64() => self.real(value),
            (letter, _) if "dxXobcUtefFg".contains(letter) => {
                return Ok(format!("%!{letter}({}={printed})", go_type(item)));
            }
            (letter, _) => return Err(format!("printf: %{letter} is not a verb")),
        };
        Ok(self.padded(body, matches!(value, Value::Number(_))))
    }

    fn cut(&self, text: String) -> String {
        match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text,
        }
    }

    fn signed(&self, text: String, value: &Value) -> String {
        let is_negative = text.starts_with('-') || !value.is_number();
        match (is_negative, self.plus, self.blank) {
            (false, true, _) => format!("+{text}"),
            (false, false, true) => format!(" {text}"),
            (true, _, _) | (false, false, false) => text,
        }
    }

    fn whole(&self, value: &Value) -> String {
        let number = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)).unwrap_or(0);
        let (sign, size) = (if number < 0 { "-" } else { "" }, number.unsigned_abs());
        let mark = |mark: &'static str| if self.sharp { mark } else { "" };
        let text = match self.letter {
            'x' => format!("{sign}{}{size:x}", mark("0x")),
            'X' => format!("{sign}{}{size:X}", mark("0X")),
            'o' => format!("{sign}{}{size:o}", mark("0")),
            'b' => format!("{sign}{}{size:b}", mark("0b")),
            'c' => u32::try_from(size).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string(),
            'U' => format!("U+{size:04X}"),
            _ => format!("{sign}{size:0>width$}", width = self.precision.unwrap_or(0)),
        };
        self.signed(text, value)
    }

    fn real(&self, value: &Value) -> String {
        let number = value.as_f64().unwrap_or(0.0);
        let precision = self.precision.unwrap_or(6);
        let text = match self.letter {
            'e' => {
                // Go writes the sign and two digits of the exponent.
                let text = format!("{number:.precision$e}");
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |rest| ("-", rest));
                format!("{digits}e{sign}{exponent:0>2}")
            }
            'g' => number.to_string(),
            _ => format!("{number:.precision$}"),
        };
        self.signed(text, value)
    }

    fn padded(&self, text: String, is_number: bool) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.left {
            return text + &" ".repeat(missing);
        }
        if self.zero && is_number {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        " ".repeat(missing) + &text
    }
}

/// A type as Go names it.
fn go_type(item: &Item<'_>) -> &'static str {
    match &item.value {
        None | Some(Value::Null) => "<nil>",
        Some(Value::Bool(_)) => "bool",
        Some(Value::Number(number)) if number.is_f64() => "float64",
        Some(Value::Number(_)) => "int",
        Some(Value::String(_)) => "string",
        Some(Value::Array(_)) => "[]interface {}",
        Some(Value::Object(_)) => "map[string]interface {}",
    }
}
