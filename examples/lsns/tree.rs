//! Lines below other lines.

/// In the order in which they are printed, and the lines below each.
pub(crate) struct Forest {
    parents: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
    symbols: [&'static str; 3],
}

impl Forest {
    pub(crate) fn new(parents: Vec<Option<usize>>) -> Self {
        let mut children = vec![Vec::new(); parents.len()];
        for (line, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent {
                children[*parent].push(line);
            }
        }
        let symbols = if is_utf8() { ["├─", "└─", "│ "] } else { ["|-", "`-", "| "] };
        Self { parents, children, symbols }
    }

    pub(crate) fn roots(&self) -> impl Iterator<Item = usize> {
        (0..self.parents.len()).filter(|line| self.parents[*line].is_none())
    }

    pub(crate) fn children(&self, line: usize) -> &[usize] {
        &self.children[line]
    }

    /// All, each with those below right behind it.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.parents.len());
        let mut next: Vec<_> = self.roots().collect();
        next.reverse();
        while let Some(line) = next.pop() {
            order.push(line);
            next.extend(self.children[line].iter().rev());
        }
        order
    }

    /// What is drawn in front of the text.
    pub(crate) fn art(&self, line: usize) -> String {
        let Some(parent) = self.parents[line] else {
            return String::new();
        };
        let own = if self.is_last(line, parent) { self.symbols[1] } else { self.symbols[0] };
        self.beside(parent) + own
    }

    /// What is drawn in further rows of a line, and in front of what is below it.
    fn beside(&self, line: usize) -> String {
        let Some(parent) = self.parents[line] else {
            return String::new();
        };
        let own = if self.is_last(line, parent) { "  " } else { self.symbols[2] };
        self.beside(parent) + own
    }

    /// In rows that are not the first of a line.
    pub(crate) fn art_of_more(&self, line: usize, is_last_row: bool) -> String {
        let below =
            if self.children[line].is_empty() || is_last_row { "" } else { self.symbols[2] };
        self.beside(line) + below
    }

    fn is_last(&self, line: usize, parent: usize) -> bool {
        self.children[parent].last() == Some(&line)
    }
}

/// Whether the terminal is said to show more than ASCII.
fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| {
        let charset = locale.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        charset == "utf-8" || charset == "utf8"
    })
}
