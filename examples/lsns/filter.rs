//! Expressions that choose lines: `scols-filter(5)`.

use std::ffi::OsString;
use std::str::FromStr;

use regex::Regex;

use crate::columns::Column;

/// `NS == 4026531837`, `USER != "root" and NPROCS > 1`, `COMMAND =~ "^sh"`.
#[derive(Debug, Clone)]
pub(crate) struct Filter(Expr);

#[derive(Debug, Clone)]
enum Expr {
    Or(Box<Self>, Box<Self>),
    And(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare(Operand, Comparison, Operand),
    Matches(Operand, Regex),
    /// Whether there is anything.
    Is(Operand),
}

#[derive(Debug, Clone)]
enum Operand {
    Column(Column),
    Text(String),
    Number(f64),
    Bool(bool),
}

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Filter {
    pub(crate) fn accepts(&self, cell: &dyn Fn(Column) -> OsString) -> bool {
        self.0.is_true(cell)
    }
}

impl Expr {
    fn is_true(&self, cell: &dyn Fn(Column) -> OsString) -> bool {
        match self {
            Self::Or(one, other) => one.is_true(cell) || other.is_true(cell),
            Self::And(one, other) => one.is_true(cell) && other.is_true(cell),
            Self::Not(it) => !it.is_true(cell),
            Self::Compare(one, how, other) => how.holds(one, other, cell),
            Self::Matches(it, regex) => regex.is_match(&it.text(cell)),
            Self::Is(Operand::Bool(it)) => *it,
            Self::Is(it) => !it.text(cell).is_empty(),
        }
    }
}

impl Operand {
    fn text(&self, cell: &dyn Fn(Column) -> OsString) -> String {
        match self {
            Self::Column(column) => cell(*column).to_string_lossy().into_owned(),
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Bool(it) => it.to_string(),
        }
    }

    fn is_number(&self) -> bool {
        match self {
            Self::Column(column) => column.is_number(),
            Self::Number(_) => true,
            Self::Text(_) | Self::Bool(_) => false,
        }
    }
}

impl Comparison {
    /// As numbers if one side is a number, and the other side none in quotes. What is empty is nothing's
    /// equal, nor more or less.
    fn holds(self, one: &Operand, other: &Operand, cell: &dyn Fn(Column) -> OsString) -> bool {
        let (left, right) = (one.text(cell), other.text(cell));
        if left.is_empty() || right.is_empty() {
            return match self {
                Self::Eq => left == right,
                Self::Ne => left != right,
                _ => false,
            };
        }
        let in_quotes = [one, other].iter().any(|it| matches!(it, Operand::Text(_)));
        let ordering = if !in_quotes && (one.is_number() || other.is_number()) {
            match (left.parse::<f64>(), right.parse::<f64>()) {
                (Ok(left), Ok(right)) => left.partial_cmp(&right),
                _ => None,
            }
        } else {
            Some(left.cmp(&right))
        };
        ordering.is_some_and(|ordering| match self {
            Self::Eq => ordering.is_eq(),
            Self::Ne => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
        })
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut tokens = tokens(text)?;
        tokens.reverse();
        let mut parser = Parser(tokens);
        let expr = parser.any_of()?;
        match parser.0.pop() {
            None => Ok(Self(expr)),
            Some(rest) => Err(format!("unexpected {rest:?}")),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    const SIGNS: [&str; 13] =
        ["&&", "||", "==", "!=", "<=", ">=", "=~", "!~", "<", ">", "!", "(", ")"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' || first == '\'' {
            let end = rest[1..].find(first).ok_or("a quote is not closed")?;
            tokens.push(Token::Quoted(rest[1..=end].to_owned()));
            end + 2
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign.to_owned()));
            sign.len()
        } else {
            let is_part =
                |letter: char| letter.is_ascii_alphanumeric() || "_.%:/-".contains(letter);
            let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("unexpected {first:?}"));
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            end
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The tokens that are left, the next one last.
struct Parser(Vec<Token>);

impl Parser {
    fn take(&mut self, sign: &str, word: &str) -> bool {
        let is_it = match self.0.last() {
            Some(Token::Sign(it)) => it == sign,
            Some(Token::Word(it)) => !word.is_empty() && it.eq_ignore_ascii_case(word),
            _ => false,
        };
        if is_it {
            self.0.pop();
        }
        is_it
    }

    fn any_of(&mut self) -> Result<Expr, String> {
        let mut expr = self.all_of()?;
        while self.take("||", "or") {
            expr = Expr::Or(Box::new(expr), Box::new(self.all_of()?));
        }
        Ok(expr)
    }

    fn all_of(&mut self) -> Result<Expr, String> {
        let mut expr = self.one()?;
        while self.take("&&", "and") {
            expr = Expr::And(Box::new(expr), Box::new(self.one()?));
        }
        Ok(expr)
    }

    fn one(&mut self) -> Result<Expr, String> {
        if self.take("!", "not") {
            return Ok(Expr::Not(Box::new(self.one()?)));
        }
        if self.take("(", "") {
            let expr = self.any_of()?;
            return if self.take(")", "") { Ok(expr) } else { Err("a ) is missing".to_owned()) };
        }
        let operand = self.operand()?;
        if self.take("=~", "") {
            return Ok(Expr::Matches(operand, self.regex()?));
        }
        if self.take("!~", "") {
            return Ok(Expr::Not(Box::new(Expr::Matches(operand, self.regex()?))));
        }
        Ok(match self.comparison() {
            Some(how) => Expr::Compare(operand, how, self.operand()?),
            None => Expr::Is(operand),
        })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        use Comparison::{Eq, Ge, Gt, Le, Lt, Ne};
        let all = [
            ("==", "eq", Eq),
            ("!=", "ne", Ne),
            ("<=", "le", Le),
            (">=", "ge", Ge),
            ("<", "lt", Lt),
            (">", "gt", Gt),
        ];
        all.into_iter().find(|(sign, word, _)| self.take(sign, word)).map(|found| found.2)
    }

    fn operand(&mut self) -> Result<Operand, String> {
        match self.0.pop() {
            Some(Token::Quoted(text)) => Ok(Operand::Text(text)),
            Some(Token::Word(word)) if word.starts_with(|it: char| it.is_ascii_digit()) => {
                number(&word).map(Operand::Number).ok_or_else(|| format!("{word} is no number"))
            }
            Some(Token::Word(word)) => match &*word {
                "true" | "TRUE" => Ok(Operand::Bool(true)),
                "false" | "FALSE" => Ok(Operand::Bool(false)),
                name => Column::of_name(name).map(Operand::Column),
            },
            Some(Token::Sign(sign)) => Err(format!("unexpected {sign}")),
            None => Err("something is missing at the end".to_owned()),
        }
    }

    fn regex(&mut self) -> Result<Regex, String> {
        match self.0.pop() {
            Some(Token::Quoted(text)) => Regex::new(&text).map_err(|error| error.to_string()),
            _ => Err("a pattern in quotes is missing".to_owned()),
        }
    }
}

/// `12`, `1.5`, `4K`, `4KiB`.
fn number(word: &str) -> Option<f64> {
    let plain = word.strip_suffix("iB").unwrap_or(word);
    let unit = plain.chars().last().and_then(|letter| "KMGTPEZY".find(letter));
    match unit {
        Some(power) => {
            let count: f64 = plain[..plain.len() - 1].parse().ok()?;
            Some(count * 1024_f64.powi(i32::try_from(power).ok()? + 1))
        }
        None => word.parse().ok(),
    }
}
