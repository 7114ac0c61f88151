//! One forked process for each trial, so that a trial may change its namespaces, ids and signals, and
//! so that what it leaves behind is seen: processes, descriptors, mounts, a changed thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Seek, Write};
use std::os::fd::FromRawFd;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Mutex;

use libtest_mimic::{Arguments, Failed, Trial};

use super::machine::Need;

/// A trial: what it needs, and what it does. It fails by a panic.
pub(crate) struct Case {
    /// Its module and function, behind the name of the test binary.
    pub(crate) path: &'static str,
    /// The same, from the function itself.
    pub(crate) function: fn() -> &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(),
}

impl Case {
    pub(crate) fn name(&self) -> &'static str {
        self.path.split_once("::").unwrap().1
    }
}

/// `cases![name [Need, ...], ...]`: functions of the module that calls it.
macro_rules! cases {
    ($($name:ident [$($need:expr),*]),* $(,)?) => {
        pub(crate) const CASES: &[$crate::harness::Case] = &[$(
            $crate::harness::Case {
                path: concat!(module_path!(), "::", stringify!($name)),
                function: || std::any::type_name_of_val(&$name),
                needs: &[$($need),*],
                run: $name,
            }
        ),*];
    };
}
pub(crate) use cases;

/// Longer than any trial takes, so that a hang is a failure. An emulated machine is slower: `TRIAL_SECONDS`.
pub(crate) fn limit() -> u32 {
    let given = std::env::var("TRIAL_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    given.unwrap_or(170)
}

pub(crate) fn main(groups: &[&'static [Case]]) -> ExitCode {
    // Ignored where we were started in the background or by nohup(1), which the shells of trials cannot undo.
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: the default of a signal; no other thread is there yet.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut arguments = Arguments::from_args();
    // More threads would make every trial the child of a process with threads.
    arguments.test_threads = Some(1);
    let strict = std::env::var_os("STRICT").is_some_and(|value| value == "1");
    let cases = || groups.iter().flat_map(|cases| cases.iter());
    let wanted = cases().filter(|case| is_wanted(&arguments, case.name()));
    let needs: Vec<_> = wanted.clone().map(|case| case.needs).collect();
    let trials = wanted.map(|case| trial(case, strict)).collect();
    let code = libtest_mimic::run(&arguments, trials).exit_code();
    if let (false, Some(summary)) = (arguments.list, missing_programs(&needs)) {
        println!("{summary}");
    }
    code
}

pub(crate) fn is_wanted(arguments: &Arguments, name: &str) -> bool {
    let matches =
        |text: &String| if arguments.exact { name == text } else { name.contains(&**text) };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

/// How many trials are ignored only because programs are not here, and how to install them.
pub(crate) fn missing_programs(trials: &[&[Need]]) -> Option<String> {
    let (mut count, mut programs, mut packages) = (0, BTreeMap::new(), BTreeSet::new());
    for needs in trials {
        let missing: Vec<_> = needs.iter().filter(|need| need.missing().is_some()).collect();
        let found: Option<Vec<_>> = missing.iter().map(|need| need.package()).collect();
        let Some(found) = found.filter(|found| !found.is_empty()) else { continue };
        count += 1;
        for (name, package) in found {
            *programs.entry(name).or_insert(0) += 1;
            packages.insert(package);
        }
    }
    let mut programs: Vec<_> = programs.into_iter().collect();
    programs.sort_by_key(|(_, trials)| std::cmp::Reverse(*trials));
    let programs: Vec<_> =
        programs.into_iter().map(|(name, trials)| format!("{name} ({trials})")).collect();
    let packages: Vec<_> = packages.into_iter().collect();
    (count > 0).then(|| {
        format!(
            "ignored: {count} trials for missing programs: {}; install them with: apt-get install {}",
            programs.join(", "),
            packages.join(" ")
        )
    })
}

/// Prints the packages of the programs that trials of any user need and that are not here.
pub(crate) fn print_packages(groups: &[&'static [Case]]) -> ExitCode {
    let needs = groups.iter().flat_map(|cases| cases.iter()).flat_map(|case| case.needs);
    let missing = needs.filter_map(|need| Some((need.package()?, need.missing()?)));
    let packages: BTreeSet<_> = missing.map(|((_, package), _)| package).collect();
    println!("{}", packages.into_iter().collect::<Vec<_>>().join(" "));
    ExitCode::SUCCESS
}

fn trial(case: &'static Case, strict: bool) -> Trial {
    let missing = case.needs.iter().find_map(|need| Some((need, need.missing()?)));
    match missing {
        None => Trial::test(case.name(), move || run(case)),
        // Another run of the suite, as another user, is there for these.
        Some((need, reason)) if need.is_about_the_user() || !strict => {
            Trial::test(case.name(), || Ok(())).with_kind(reason).with_ignored_flag(true)
        }
        Some((_, reason)) => Trial::test(case.name(), move || {
            Err(Failed::from(format!("ignored, but STRICT=1: {reason}")))
        }),
    }
}

fn machine_name() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/hostname").ok()
}

fn run(case: &'static Case) -> Result<(), Failed> {
    let name = machine_name();
    // No pipe, which a process that a trial left would keep open.
    // SAFETY: a C string; the kernel has just made the descriptor.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"message".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        fs::File::from_raw_fd(fd)
    };
    // SAFETY: this process has one thread, so the child may do anything. What that leaves when it ends comes to us.
    let pid = unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        libc::fork()
    };
    if pid == 0 {
        let message = in_trial(case.run);
        let failed = message.is_some();
        write!(&file, "{}", message.unwrap_or_default()).ok();
        // SAFETY: ends the process without what the test binary registered for its end.
        unsafe { libc::_exit(failed.into()) }
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    let mut message = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut message)).ok();
    end_children();
    match status {
        0 if machine_name() != name => Err("the trial renamed the machine".into()),
        0 => Ok(()),
        _ if !message.is_empty() => Err(message.into()),
        _ => Err(format!("the trial's process ended with wait status {status:#x}").into()),
    }
}

/// Ends what a trial left that failed, as it would keep the output of the suite open.
fn end_children() {
    // SAFETY: waits for a child of this process.
    let wait = |options| unsafe { libc::waitpid(-1, std::ptr::null_mut(), options | libc::__WALL) };
    while wait(libc::WNOHANG) >= 0 {
        for (pid, _) in children() {
            // SAFETY: a child of this process.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        wait(0);
    }
}

/// Runs the trial and looks at what it left. Answers what is wrong.
fn in_trial(run: fn()) -> Option<String> {
    static MESSAGE: Mutex<String> = Mutex::new(String::new());
    panic::set_hook(Box::new(|info| {
        let mut message = MESSAGE.lock().unwrap();
        if message.is_empty() {
            *message = info.to_string();
        }
    }));
    // SAFETY: plain calls on this process. Orphans come to us, so that they are seen.
    unsafe {
        libc::alarm(limit());
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    }
    let before = descriptors();
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    if outcome.is_err() {
        return Some(MESSAGE.lock().unwrap().clone());
    }
    let left: Vec<_> = descriptors().difference(&before).cloned().collect();
    if !left.is_empty() {
        return Some(format!("the trial left descriptors open: {left:?}"));
    }
    left_process()
}

/// Numbers and targets of the open descriptors.
pub(crate) fn descriptors() -> BTreeSet<(i32, String)> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return BTreeSet::new();
    };
    let numbers: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The directory that was read is no more.
    let target = |number| fs::read_link(format!("/proc/self/fd/{number}")).ok();
    numbers.into_iter().filter_map(|it| Some((it, target(it)?.display().to_string()))).collect()
}

fn left_process() -> Option<String> {
    // SAFETY: waits for nothing.
    let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
    match pid {
        -1 => None,
        0 => {
            let children = children();
            for (pid, _) in &children {
                // SAFETY: a child of this process.
                unsafe { libc::kill(*pid, libc::SIGKILL) };
            }
            Some(format!("the trial left processes running: {children:?}"))
        }
        zombie => Some(format!("the trial left a zombie: {zombie}")),
    }
}

/// The pids of this process's children, with the lines of `/proc/<pid>/stat`.
fn children() -> Vec<(i32, String)> {
    let mine = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let stats = pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, stat.trim_end().to_owned()))
    });
    let parent = |stat: &str| Some(stat.rsplit(')').next()?.split_whitespace().nth(1)? == mine);
    stats.filter(|(_, stat)| parent(stat) == Some(true)).collect()
}
