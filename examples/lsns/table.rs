//! The three forms of output.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use crate::columns::Column;
use crate::tree::Forest;

pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    /// A cell for each column.
    pub(crate) lines: Vec<Vec<OsString>>,
    pub(crate) forest: Forest,
    /// The one that the tree is drawn in.
    pub(crate) tree: Option<Column>,
}

/// What a table for people looks like.
pub(crate) struct Look {
    pub(crate) headings: bool,
    /// Longer lines are cut, in the column that may be.
    pub(crate) width: Option<usize>,
    pub(crate) separator: char,
}

impl Table {
    fn order(&self) -> Vec<usize> {
        if self.has_tree() { self.forest.order() } else { (0..self.lines.len()).collect() }
    }

    fn has_tree(&self) -> bool {
        self.tree.is_some_and(|column| self.columns.contains(&column))
    }

    /// Words with a blank between them; blanks and what cannot be printed are written as `\x20`.
    pub(crate) fn raw(&self, headings: bool) -> String {
        let mut text = String::new();
        if headings && !self.lines.is_empty() {
            let names: Vec<_> = self.columns.iter().map(|column| column.name()).collect();
            text += &names.join(" ");
            text.push('\n');
        }
        for line in self.order() {
            let cells = self.columns.iter().zip(&self.lines[line]).map(|(column, cell)| {
                let art =
                    if self.tree == Some(*column) { self.forest.art(line) } else { String::new() };
                escaped([art.as_bytes(), cell.as_bytes()].concat())
            });
            text += &cells.collect::<Vec<_>>().join(" ");
            text.push('\n');
        }
        text
    }

    /// An object for each line; those below it are its `children`.
    pub(crate) fn json(&self) -> String {
        let lines: Vec<_> =
            if self.has_tree() { self.forest.roots().collect() } else { self.order() };
        format!("{{\n   \"namespaces\": {}\n}}\n", self.array(&lines, 1))
    }

    fn array(&self, lines: &[usize], depth: usize) -> String {
        let objects: Vec<_> = lines.iter().map(|line| self.object(*line, depth + 1)).collect();
        let (inner, outer) = ("   ".repeat(depth + 1), "   ".repeat(depth));
        format!(
            "[\n{}{}\n{outer}]",
            if objects.is_empty() { "" } else { &inner },
            objects.join(",")
        )
    }

    fn object(&self, line: usize, depth: usize) -> String {
        let (inner, outer) = ("   ".repeat(depth + 1), "   ".repeat(depth));
        let mut members = Vec::new();
        for (column, cell) in self.columns.iter().zip(&self.lines[line]) {
            let cell = cell.to_string_lossy();
            let value = match &*cell {
                "" => "null".to_owned(),
                number if column.is_number() => number.to_owned(),
                text => serde_json::Value::from(text).to_string(),
            };
            members.push(format!("{inner}\"{}\": {value}", column.name().to_ascii_lowercase()));
        }
        let children = self.forest.children(line);
        if self.has_tree() && !children.is_empty() {
            members.push(format!("{inner}\"children\": {}", self.array(children, depth + 1)));
        }
        format!("{{\n{}\n{outer}}}", members.join(",\n"))
    }

    /// Columns as wide as what is in them.
    pub(crate) fn human(&self, look: &Look) -> String {
        if self.lines.is_empty() {
            return String::new();
        }
        let rows: Vec<_> =
            self.order().into_iter().flat_map(|line| self.rows(line, look)).collect();
        let widths = self.widths(&rows, look.width);
        let mut text = String::new();
        if look.headings {
            let names: Vec<_> = self.columns.iter().map(|it| it.name().to_owned()).collect();
            self.print(&mut text, &names, &widths);
        }
        for row in rows {
            self.print(&mut text, &row, &widths);
        }
        text
    }

    /// One, and a further one for each part of a cell in several parts.
    fn rows(&self, line: usize, look: &Look) -> Vec<Vec<String>> {
        let cells = self.columns.iter().zip(&self.lines[line]);
        let parts: Vec<Vec<String>> = cells
            .map(|(column, cell)| match column {
                Column::Nsfs if look.separator == '\n' => {
                    cell.as_bytes().split(|byte| *byte == b'\n').map(printable).collect()
                }
                _ => vec![printable(cell.as_bytes())],
            })
            .collect();
        let count = parts.iter().map(Vec::len).max().unwrap_or(1);
        let row = |number: usize| {
            let cell = |(column, parts): (&Column, &Vec<String>)| {
                let text = parts.get(number).cloned().unwrap_or_default();
                match number {
                    _ if self.tree != Some(*column) => text,
                    0 => self.forest.art(line) + &text,
                    _ => self.forest.art_of_more(line, number + 1 == count),
                }
            };
            self.columns.iter().zip(&parts).map(cell).collect()
        };
        (0..count).map(row).collect()
    }

    fn widths(&self, rows: &[Vec<String>], limit: Option<usize>) -> Vec<usize> {
        let mut widths = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let widest = rows.iter().map(|row| width(&row[at])).max().unwrap_or(0);
            let (heading, usual) = (column.name().len(), column.usual_width());
            widths.push(match widest {
                narrow if narrow < heading => heading,
                short if heading < usual => short.max(usual),
                long => long,
            });
        }
        let excess = limit.map_or(0, |limit| {
            (widths.iter().sum::<usize>() + widths.len() - 1).saturating_sub(limit)
        });
        for (width, column) in widths.iter_mut().zip(&self.columns) {
            if *column == Column::Command {
                *width = width.saturating_sub(excess).max(column.name().len());
            }
        }
        widths
    }

    fn print(&self, text: &mut String, row: &[String], widths: &[usize]) {
        let last = row.len() - 1;
        for (at, ((cell, column), wide)) in row.iter().zip(&self.columns).zip(widths).enumerate() {
            let wide = *wide;
            // Of a tree, the numbers stand behind the drawing.
            let is_right = column.is_right() && self.tree != Some(*column);
            // Only this column is ever narrower than what is in it.
            let cell: String = cell.chars().take(wide).collect();
            let printed = match at == last {
                true if is_right && !cell.is_empty() => write!(text, "{cell:>wide$}"),
                true => write!(text, "{cell}"),
                false if is_right => write!(text, "{cell:>wide$} "),
                false => write!(text, "{cell:<wide$} "),
            };
            printed.expect("memory takes all");
        }
        text.push('\n');
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Bytes that are no text, and what a terminal might obey, as `\x1b`.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                letter.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text += &hex(byte));
            } else {
                text.push(letter);
            }
        }
        chunk.invalid().iter().for_each(|byte| text += &hex(*byte));
    }
    text
}

fn escaped(bytes: Vec<u8>) -> String {
    let one = |byte: u8| match byte {
        b'\\' => hex(byte),
        byte if byte.is_ascii_graphic() => char::from(byte).to_string(),
        byte => hex(byte),
    };
    bytes.into_iter().map(one).collect()
}

fn hex(byte: u8) -> String {
    format!("\\x{byte:02x}")
}

/// The names of columns and what they tell.
pub(crate) fn list_columns() -> String {
    let line = |column: Column| format!("{:>11}  {}\n", column.name(), column.help());
    Column::ALL.into_iter().map(line).collect()
}

/// As a line of output.
pub(crate) fn one_line(text: &OsStr) -> String {
    printable(text.as_bytes())
}
