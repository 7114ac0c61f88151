//! The command line of `.ci/matrix`, and the architectures that it knows.

use std::thread::available_parallelism;

const KERNELS: &[&str] = &["5.10", "6.1", "6.12", "6.18", "6.19", "7.0", "7.1", "7.2", "7.3"];

/// What `-s` leaves out: trials that do something hundreds of times, and those that compare whole programs.
const LONG: &[&str] = &[
    "stress",
    "ten_thousand",
    "full_table_of_mounts",
    "fast_enough",
    "whatever",
    "hostile::races",
    "hostile::same::programs",
    "it_does_what",
    "examples::unshare",
];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) arch: Arch,
    pub(super) jobs: usize,
    /// The arguments of each run of the suite.
    pub(super) runs: Vec<String>,
    /// Every how manieth run of the sweep; empty for none.
    pub(super) sweep_part: String,
    pub(super) kernels: Vec<String>,
    pub(super) records: bool,
}

impl Options {
    pub(super) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut arch = std::env::consts::ARCH;
        let mut jobs = available_parallelism().map_or(1, |count| count.get().div_ceil(2));
        let (mut parts, mut sweep_part) = (Vec::new(), String::new());
        let (mut is_short, mut records) = (false, false);
        let mut rest = arguments.iter().copied().peekable();
        while let Some(letters) =
            rest.next_if(|it| it.len() > 1 && it.starts_with('-') && *it != "--")
        {
            let mut letters = letters[1..].chars();
            while let Some(letter) = letters.next() {
                match letter {
                    's' => is_short = true,
                    'r' => records = true,
                    'a' | 'f' | 'j' | 't' => {
                        let value = match letters.as_str() {
                            "" => rest.next().ok_or_else(|| format!("-{letter} takes a value"))?,
                            value => value,
                        };
                        letters = "".chars();
                        match letter {
                            'a' => arch = value,
                            'f' => sweep_part = value.to_owned(),
                            'j' => {
                                jobs =
                                    value.parse().map_err(|_| format!("-j {value}: no number"))?
                            }
                            _ => parts.push(value),
                        }
                    }
                    _ => return Err(format!("no option -{letter}")),
                }
            }
        }
        let mut kernels: Vec<String> = Vec::new();
        while let Some(kernel) = rest.next_if(|it| *it != "--") {
            kernels.push(kernel.to_owned());
        }
        if kernels.is_empty() {
            kernels = KERNELS.iter().map(|&kernel| kernel.to_owned()).collect();
        }
        let short = LONG.iter().filter(|_| is_short).flat_map(|name| ["--skip", name]);
        let common: Vec<&str> = short.chain(rest.skip(1)).collect();
        let common = common.join(" ");
        if parts.is_empty() {
            parts.push("");
        }
        let runs = parts.iter().map(|part| format!("{part} {common}")).collect();
        Ok(Self { arch: Arch::named(arch)?, jobs: jobs.max(1), runs, sweep_part, kernels, records })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arch {
    pub(super) name: String,
    /// As Debian calls it.
    pub(super) debian: &'static str,
    pub(super) qemu: &'static str,
    package: &'static str,
    pub(super) console: &'static str,
    pub(super) machine: &'static [&'static str],
    pub(super) cpu: &'static str,
    /// The last part of a kernel package's name.
    pub(super) flavour: &'static str,
    pub(super) suites: &'static [&'static str],
    pub(super) quirks: &'static str,
}

impl Arch {
    fn named(name: &str) -> Result<Self, String> {
        let all = Self {
            name: name.to_owned(),
            debian: "",
            qemu: "",
            package: "",
            console: "",
            machine: &[],
            cpu: "max",
            flavour: "",
            suites: &["bullseye", "bookworm", "trixie", "trixie-backports"],
            quirks: "",
        };
        Ok(match name {
            "x86_64" => Self {
                debian: "amd64",
                qemu: "qemu-system-x86_64",
                package: "qemu-system-x86",
                console: "ttyS0",
                flavour: "cloud-amd64",
                // The clock of an emulated machine is steady, which the kernel need not find out. Debian's 5.10.223
                // lacks a fix without which TOMOYO lets no program run in a root without /dev.
                quirks: "mitigations=off no_timer_check tsc=reliable lsm=landlock,lockdown,yama,integrity,apparmor",
                ..all
            },
            "aarch64" => Self {
                debian: "arm64",
                qemu: "qemu-system-aarch64",
                package: "qemu-system-arm",
                console: "ttyAMA0",
                machine: &["-machine", "virt"],
                flavour: "cloud-arm64",
                ..all
            },
            // The one whose bytes are in the other order. It has no kernels for clouds.
            "s390x" => Self {
                debian: "s390x",
                qemu: "qemu-system-s390x",
                package: "qemu-system-misc",
                console: "ttysclp0",
                flavour: "s390x",
                suites: &["bookworm", "trixie"],
                ..all
            },
            // Pages of 64 KiB, and ioctl(2) numbers of its own.
            "powerpc64le" => Self {
                debian: "ppc64el",
                qemu: "qemu-system-ppc64",
                package: "qemu-system-ppc",
                console: "hvc0",
                machine: &["-machine", "pseries"],
                cpu: "power9",
                flavour: "powerpc64le",
                suites: &["bookworm", "trixie"],
                ..all
            },
            _ => return Err(format!("no kernels for {name} are known here")),
        })
    }

    pub(super) fn is_native(&self) -> bool {
        self.name == std::env::consts::ARCH
    }

    /// Programs and files, with the packages that have them.
    pub(super) fn needs(&self) -> Vec<(&str, &str)> {
        let mut all = vec![
            (self.qemu, self.package),
            ("cpio", "cpio"),
            ("xz", "xz-utils"),
            ("apt-get", "apt"),
            ("dpkg-deb", "dpkg"),
            ("cargo", "rustup"),
        ];
        all.extend(match &*self.name {
            _ if self.is_native() => &[][..],
            "aarch64" => &[
                ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
                ("/usr/aarch64-linux-gnu/include/stdio.h", "libc6-dev-arm64-cross"),
            ],
            "s390x" => &[
                ("s390x-linux-gnu-gcc", "gcc-s390x-linux-gnu"),
                ("/usr/s390x-linux-gnu/include/stdio.h", "libc6-dev-s390x-cross"),
            ],
            "powerpc64le" => &[
                ("powerpc64le-linux-gnu-gcc", "gcc-powerpc64le-linux-gnu"),
                ("/usr/powerpc64le-linux-gnu/include/stdio.h", "libc6-dev-ppc64el-cross"),
            ],
            _ => &[
                ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
                ("/usr/x86_64-linux-gnu/include/stdio.h", "libc6-dev-amd64-cross"),
            ],
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let all = Options::parse(&["-a", "x86_64"]).unwrap();
        assert_eq!(all.kernels, KERNELS);
        assert_eq!(all.runs, [" "]);
        assert_eq!(all.arch.debian, "amd64");
        let some = [
            "-sa",
            "s390x",
            "-t",
            "since::",
            "-thandles::",
            "-f",
            "20",
            "-j1",
            "6.1",
            "--",
            "--nocapture",
        ];
        let some = Options::parse(&some).unwrap();
        assert_eq!(
            (some.arch.name.as_str(), some.jobs, some.sweep_part.as_str()),
            ("s390x", 1, "20")
        );
        assert_eq!(some.kernels, ["6.1"]);
        assert!(
            some.runs[0].starts_with("since:: --skip stress")
                && some.runs[0].ends_with(" --nocapture")
        );
        assert!(some.runs[1].starts_with("handles:: "));
        assert_eq!(Options::parse(&["--", "x"]).unwrap().kernels, KERNELS);
        for wrong in [&["-x"][..], &["-a"], &["-a", "vax"], &["-j", "many"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
