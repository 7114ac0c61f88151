//! The layers of the crate: a file uses files of its own layer and of those below, never in a circle, and unsafe code is
//! where it is expected. A module and the files that it declares are not looked at from above: a `mod.rs` may use these.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// From the bottom: what `src/lib.rs` declares. A file may have a layer of its own.
const LAYERS: &[&[&str]] = &[
    // The kernel boundary.
    &["sys"],
    // Values.
    &["namespace", "error", "signal", "hostname", "id_map", "time_offsets", "mountinfo"],
    // What is, and handles of it.
    &[
        "proc_fs",
        "process_state",
        "ns_fd",
        "identity",
        "pid_fd",
        "pinned",
        "support",
        "uts",
        "diagnosis",
        "sub_ids",
    ],
    // Values that hold such handles.
    &["mounts", "init::policy"],
    // What to do, as data.
    &["plan"],
    // What does it.
    &["engine", "init"],
    // Builders.
    &["unshare", "enter", "command", "child"],
    // Whole pictures.
    &["discover"],
];

/// Where unsafe code is, besides `sys` and `engine`: what the caller has to promise.
const UNSAFE: &[&str] = &["command::closures", "command::std_ext"];

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../src");

/// Another user may not see into the repository.
fn main() -> ExitCode {
    let trial = |name, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
        .with_ignored_flag(fs::read_dir(SOURCES).is_err())
    };
    let trials = vec![
        trial("files_use_what_is_below", files_use_what_is_below),
        trial("unsafe_code_is_where_it_is_expected", unsafe_code_is_where_it_is_expected),
        trial("pages_name_files_that_exist", pages_name_files_that_exist),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Files by the paths of their modules, without comments and unit tests.
fn sources() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![(Path::new(SOURCES).to_owned(), String::new())];
    while let Some((dir, module)) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let inside = |name: &str| match &*module {
                "" => name.to_owned(),
                module => format!("{module}::{name}"),
            };
            if entry.file_type().unwrap().is_dir() {
                dirs.push((entry.path(), inside(&name)));
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = code.lines().map(|line| line.split("//").next().unwrap());
            let module = match name.strip_suffix(".rs").unwrap() {
                "mod" | "lib" => module.clone(),
                name => inside(name),
            };
            files.insert(module, lines.collect::<Vec<_>>().join("\n"));
        }
    }
    files
}

/// The single paths of a tree as `use` has it: `a::{b, c::{d, e}}`.
fn paths(tree: &str, before: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        found.push(format!("{before}{tree}"));
        return;
    };
    let (mut depth, mut start) = (0, 0);
    let inner = &rest[..rest.rfind('}').unwrap()];
    for (at, char) in inner.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                paths(&inner[start..at], &format!("{before}{head}"), found);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        paths(&inner[start..], &format!("{before}{head}"), found);
    }
}

/// The files that a file uses, of these.
fn uses(module: &str, code: &str, files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut named = Vec::new();
    let mut rest = code;
    while let Some(at) =
        ["\nuse ", "\npub use ", "\npub(crate) use "].iter().filter_map(|it| rest.find(it)).min()
    {
        let (statement, behind) = rest[at..].split_once(';').unwrap();
        paths(statement.split_once("use ").unwrap().1, "", &mut named);
        rest = behind;
    }
    let is_name = |char: char| char.is_alphanumeric() || char == '_' || char == ':';
    for part in code.split("crate::").skip(1) {
        named.push(format!("crate::{}", part.split(|char| !is_name(char)).next().unwrap()));
    }
    let mut used = BTreeSet::new();
    for path in named {
        let mut base: Vec<_> = module.split("::").filter(|name| !name.is_empty()).collect();
        let mut names = path.split("::").peekable();
        match names.next() {
            Some("crate") => base.clear(),
            Some("super") => drop(base.pop()),
            // A child of this module, or another crate.
            Some(first) if files.contains_key(&[&base[..], &[first]].concat().join("::")) => {
                base.push(first);
            }
            _ => continue,
        }
        while names.next_if_eq(&"super").is_some() {
            base.pop();
        }
        base.extend(names);
        while !base.is_empty() && !files.contains_key(&base.join("::")) {
            base.pop();
        }
        let path = base.join("::");
        if !path.is_empty() && path != module && !path.starts_with(&format!("{module}::")) {
            used.insert(path);
        }
    }
    used
}

fn layer(module: &str) -> usize {
    let names: Vec<_> = module.split("::").collect();
    let listed = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let at = (1..=names.len()).rev().find_map(|count| listed(&names[..count].join("::")));
    at.unwrap_or_else(|| panic!("{module} is in no layer"))
}

/// A circle that `module` is in, by files that are above it in the walk.
fn circle(
    module: &str,
    graph: &BTreeMap<String, BTreeSet<String>>,
    walk: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<String> {
    if let Some(at) = walk.iter().position(|other| other == module) {
        return Some(format!("{} -> {module}", walk[at..].join(" -> ")));
    }
    if !done.insert(module.to_owned()) {
        return None;
    }
    walk.push(module.to_owned());
    let found = graph[module].iter().find_map(|used| circle(used, graph, walk, done));
    walk.pop();
    found
}

fn files_use_what_is_below() {
    let files = sources();
    let mut graph = BTreeMap::new();
    for (module, code) in files.iter().filter(|(module, _)| !module.is_empty()) {
        let used = uses(module, code, &files);
        for other in &used {
            assert!(layer(other) <= layer(module), "{module} uses {other}, which is above it");
        }
        graph.insert(module.clone(), used);
    }
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > files.len(), "hardly any was found");
    let mut done = BTreeSet::new();
    let found = graph.keys().find_map(|module| circle(module, &graph, &mut Vec::new(), &mut done));
    assert_eq!(found, None);
}

fn unsafe_code_is_where_it_is_expected() {
    for (module, code) in sources() {
        let is_room = ["sys", "engine"].iter().any(|room| module.split("::").next() == Some(room));
        let is_expected = is_room || UNSAFE.contains(&&*module);
        let has_any = ["unsafe {", "unsafe impl", "unsafe extern", "unsafe fn"]
            .iter()
            .any(|it| code.contains(it));
        assert!(is_expected || !has_any, "{module} has unsafe code");
        // A module that declares others would forbid it to these.
        let declares = code
            .lines()
            .any(|line| line.starts_with("mod ") || line.starts_with("pub(crate) mod "));
        let forbids = code.contains("#![forbid(unsafe_code)]");
        let may_have = module.split("::").next() == Some("sys");
        assert!(may_have || has_any || forbids || declares, "{module} does not forbid unsafe code");
        let is_listed = UNSAFE.contains(&&*module);
        assert!(has_any || !is_listed, "{module} is expected to have unsafe code, and has none");
    }
}

fn pages_name_files_that_exist() {
    let root = Path::new(SOURCES).parent().unwrap();
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let is_path = |name: &&str| {
            ["src/", "tests/", "docs/", "examples/", ".ci/"].iter().any(|dir| name.starts_with(dir))
        };
        let named: Vec<_> = text.split('`').skip(1).step_by(2).filter(is_path).collect();
        assert!(named.len() > 10, "hardly any was found in {page}");
        for name in named {
            assert!(root.join(name).exists(), "{page} names {name}, which is not there");
        }
    }
}
