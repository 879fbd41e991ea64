//! What `cargo xtask servers` does on machines that lack something; their commands are stand-ins that write down
//! how they were called.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A folder that is all of a machine's PATH.
struct Machine {
    path: PathBuf,
}

impl Machine {
    /// A machine with `env`, a user of this number, and an `apt-get` that installs redis-server when `knows` is met.
    fn new(name: &str, user: u32) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        symlink("/usr/bin/env", path.join("env")).unwrap();
        let machine = Self { path };
        machine.put("id", &format!("echo {user}"));
        for program in ["cc", "openssl", "kill", "valgrind"] {
            machine.put(program, "echo 1");
        }
        machine
    }

    fn put(&self, program: &str, script: &str) {
        let file = self.path.join(program);
        fs::write(&file, format!("#!/bin/sh\nhere='{}'\n{script}\n", self.path.display())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `apt-get` works if the lists are up to date or `update` was called.
    fn with_apt(self, lists_are_there: bool) -> Self {
        if lists_are_there {
            fs::write(self.path.join("lists"), "").unwrap();
        }
        self.put("apt-cache", "[ -e $here/lists ]");
        self.put(
            "apt-get",
            "echo \"$DEBIAN_FRONTEND $*\" >> $here/log\n\
             case \"$*\" in *update) : > $here/lists;; *install*)\n\
             [ -e $here/lists ] || exit 100\n\
             printf '#!/bin/sh\\necho Redis 7' > $here/redis-server; /bin/chmod +x $here/redis-server;; esac",
        );
        self
    }

    fn servers(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("servers").args(args).env("PATH", &self.path).output().unwrap()
    }

    fn apt_calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn what_is_missing_is_listed_with_the_way_to_get_it_and_nothing_is_installed() {
    let machine = Machine::new("list", 0).with_apt(true);
    let output = machine.servers(&["--no-install"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("missing: redis-server"), "{}", said(&output));
    assert!(said(&output).contains("apt-get install redis-server"), "{}", said(&output));
    assert!(machine.apt_calls().is_empty());
}

#[test]
fn what_is_missing_is_announced_and_installed_without_questions() {
    let machine = Machine::new("install", 0).with_apt(true);
    let output = machine.servers(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("installing redis-server with apt-get\n"), "{}", said(&output));
    let calls = machine.apt_calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(calls[0].starts_with("noninteractive") && calls[0].contains("install --yes"), "{calls:?}");
}

#[test]
fn package_lists_are_fetched_once_when_there_are_none() {
    let machine = Machine::new("update", 0).with_apt(false);
    assert_eq!(machine.servers(&[]).status.code(), Some(0));
    let calls = machine.apt_calls();
    assert!(calls.len() == 2 && calls[0].ends_with("update") && calls[1].contains("install"), "{calls:?}");
}

#[test]
fn stale_package_lists_are_fetched_again_before_giving_up() {
    let machine = Machine::new("stale", 0).with_apt(false);
    machine.put("apt-cache", "exit 0");
    assert_eq!(machine.servers(&[]).status.code(), Some(0));
    assert_eq!(machine.apt_calls().len(), 3);
}

#[test]
fn a_user_who_is_not_root_installs_through_sudo_or_is_told_the_command() {
    let machine = Machine::new("user", 1000).with_apt(true);
    let output = machine.servers(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("As root, please run: apt-get install redis-server"), "{}", said(&output));
    machine.put("sudo", "exec \"$@\"");
    assert_eq!(machine.servers(&[]).status.code(), Some(0));
    assert_eq!(machine.apt_calls().len(), 1);
}

#[test]
fn without_apt_the_packages_are_named() {
    let output = Machine::new("foreign", 0).servers(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("Please install: redis-server"), "{}", said(&output));
}

#[test]
fn nothing_is_done_when_everything_is_there() {
    let machine = Machine::new("complete", 0).with_apt(true);
    machine.put("redis-server", "echo Redis server v=7");
    let output = machine.servers(&["--no-install"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("Redis server v=7"), "{}", said(&output));
    assert!(machine.apt_calls().is_empty());
}
