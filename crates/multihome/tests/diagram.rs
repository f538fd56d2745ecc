//! Diagrams in the programs that are to show them: Chromium and Graphviz, from Debian.
//!
//! Chromium draws every figure in the light and in the dark scheme. A script in the page measures
//! each text against its box, and its colour against what is behind it. The screenshots stay
//! under the target directory, for the eye.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A client and the address that it asks, if anybody does.
type Flow<'a> = Option<(&'a str, &'a str)>;

/// Figures: name, snapshot, client and address.
const FIGURES: [(&str, &str, Flow<'static>); 9] = [
    ("cloud", "cloud", None),
    ("cloud-before", "cloud", Some(("198.51.100.7", "10.0.0.204"))),
    ("cloud-after", "cloud-managed", Some(("198.51.100.7", "10.0.0.204"))),
    (
        "cloud-ipv6",
        "cloud-managed",
        Some(("2600:1f14:eeb:2203:454a:fcbd:485d:73ef", "2001:db8:0:3::cc")),
    ),
    ("campus", "campus", None),
    ("campus-before", "campus", Some(("10.225.160.9", "10.225.176.38"))),
    ("container", "campus", Some(("172.17.0.2", "10.225.176.38"))),
    ("refused", "gateway-lost", Some(("198.51.100.7", "10.0.0.204"))),
    ("ten-cards", "ten-cards", Some(("198.51.100.7", "10.0.7.5"))),
];

const MEASURE: &str = r#"
const problems = [];
let texts = 0;
const color = (e) => getComputedStyle(e).fill.match(/[\d.]+/g).slice(0, 3).map(Number);
const luminance = (c) => {
  const [r, g, b] = c.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
};
const inside = (a, b) => a.x >= b.x - 0.5 && a.y >= b.y - 0.5
  && a.x + a.width <= b.x + b.width + 0.5 && a.y + a.height <= b.y + b.height + 0.5;
const measure = () => {
  for (const svg of document.querySelectorAll('svg')) {
    const name = svg.parentElement.id;
    const ground = svg.querySelector('.ground');
    if (!svg.querySelector('title').textContent || svg.getAttribute('role') !== 'img') {
      problems.push(`${name}: no title or role`);
    }
    for (const text of svg.querySelectorAll('text')) {
      texts += 1;
      const said = text.textContent;
      const box = text.getBBox();
      const shape = text.parentElement.querySelector(':scope > rect.box');
      const previous = text.previousElementSibling;
      const behind = text.classList.contains('number') ? previous : shape || ground;
      if (!inside(box, svg.viewBox.baseVal)) problems.push(`${name}: "${said}" leaves the picture`);
      if (shape && !inside(box, shape.getBBox())) problems.push(`${name}: "${said}" leaves its box`);
      const ratio = contrast(color(text), color(behind));
      if (ratio < 4.5) problems.push(`${name}: "${said}" has a contrast of ${ratio.toFixed(2)}`);
    }
  }
  for (const img of document.images) {
    if (!img.naturalWidth) problems.push(`${img.alt}: is no picture`);
  }
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) problems.push('the page is wider than the window');
  const dark = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  document.body.innerHTML = `<pre id="result">${dark} ${texts} texts\n</pre>`;
  document.getElementById('result').append(problems.join('\n'));
};
window.addEventListener('load', measure);
"#;

#[test]
fn chromium_shows_every_figure_readably_in_both_schemes() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("diagrams");
    fs::create_dir_all(&directory).expect("a directory");
    let mut inline = String::from("<!doctype html><meta charset=\"utf-8\"><body>\n");
    let mut images = String::from(
        "<!doctype html><meta charset=\"utf-8\">\
         <style>:root { color-scheme: light dark } img { max-width: 100%; margin: 8px 0 }</style>\n",
    );
    let mut figures: Vec<(String, String)> = FIGURES
        .iter()
        .map(|(name, host, flow)| ((*name).to_owned(), figure(&example(host), *flow, "svg")))
        .collect();
    for (name, snapshot) in losses(directory.as_path()) {
        figures.push((name.into(), figure(&snapshot, Some(("198.51.100.7", "10.0.1.204")), "svg")));
    }
    figures.push(("odd-names".into(), figure(&odd_names(&directory), FIGURES[1].2, "svg")));
    for (name, svg) in &figures {
        fs::write(directory.join(format!("{name}.svg")), svg).expect("a figure");
        let _ = writeln!(inline, "<div id=\"{name}\">{svg}</div>");
        let _ = writeln!(inline, "<img alt=\"{name}\" src=\"{name}.svg\" width=\"10\">");
        let _ = writeln!(images, "<img alt=\"{name}\" src=\"{name}.svg\"><br>");
    }
    let _ = writeln!(inline, "<script>{MEASURE}</script>");
    fs::write(directory.join("measured.html"), inline).expect("a page");
    fs::write(directory.join("shown.html"), images).expect("a page");
    for (scheme, number) in [("light", 1), ("dark", 0)] {
        let setting = format!("--blink-settings=preferredColorScheme={number}");
        let dom = chromium(&directory, &[&setting, "--dump-dom"], "measured.html");
        let result = dom.split("<pre id=\"result\">").nth(1).expect("a result");
        let result = result.split("</pre>").next().expect("its end");
        let (first, problems) = result.split_once('\n').expect("a first line");
        let mut words = first.split(' ');
        assert_eq!(words.next(), Some(scheme));
        let texts: usize = words.next().and_then(|n| n.parse().ok()).expect("a number");
        assert!(texts > 200, "only {texts} texts were measured");
        assert_eq!(problems, "", "in the {scheme} scheme");
        let picture = directory.join(format!("{scheme}.png"));
        let _ = fs::remove_file(&picture);
        let shot = format!("--screenshot={}", picture.display());
        chromium(&directory, &[&setting, &shot], "shown.html");
        let png = fs::read(&picture).expect("a screenshot");
        assert!(png.len() > 50_000, "{} shows nothing", picture.display());
        println!("{texts} texts measured in the {scheme} scheme: {}", picture.display());
    }
}

#[test]
fn what_is_wrong_is_said_and_drawn_and_what_is_right_too() {
    let flow = Some(("198.51.100.7", "10.0.0.204"));
    let before = figure(&example("cloud"), flow, "svg");
    assert!(before.contains(">2 leaves by ens5, not by ens6</text>"), "{before}");
    assert!(before.contains("<path class=\"way bad\""), "{before}");
    let after = figure(&example("cloud-managed"), flow, "svg");
    assert!(after.contains("The reply leaves by ens6, as the request came in"), "{after}");
    assert!(!after.contains("class=\"way bad\""), "{after}");
    for svg in [before, after] {
        assert!(!svg.contains("<script") && !svg.contains("href") && !svg.contains("url("));
    }
}

#[test]
fn graphviz_reads_every_figure() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dot");
    fs::create_dir_all(&directory).expect("a directory");
    let examples = FIGURES.iter().map(|(_, host, flow)| (example(host), *flow));
    for (snapshot, flow) in examples.chain([(odd_names(&directory), FIGURES[1].2)]) {
        let text = figure(&snapshot, flow, "dot");
        let mut dot = Command::new("dot")
            .arg("-Tsvg")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("dot (Debian's graphviz)");
        dot.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("writing");
        let output = dot.wait_with_output().expect("dot");
        let errors = String::from_utf8_lossy(&output.stderr);
        let real = errors.lines().filter(|l| !l.contains("Pango") && !l.contains("Fontconfig"));
        assert!(output.status.success() && real.count() == 0, "{errors}\n{text}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("</svg>"));
    }
}

#[test]
fn what_is_no_request_is_refused_with_the_remedy() {
    let ask = |from: &str, to: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_multihome"))
            .args(["diagram", "--from", from, "--to", to, "--snapshot"])
            .arg(example("cloud"))
            .output()
            .expect("multihome");
        assert_eq!(output.status.code(), Some(64));
        String::from_utf8(output.stderr).expect("UTF-8").replace("\n  ", " ")
    };
    let reversed = ask("10.0.0.204", "198.51.100.7");
    assert!(
        reversed.contains("hint: a client asks this host: --from 198.51.100.7 --to 10.0.0.204")
    );
    assert!(ask("198.51.100.7", "10.0.0.9").contains("asked: 10.0.0.129, 10.0.0.204"));
    assert!(ask("198.51.100.7", "2001:db8:0:3::81").contains("different families"));
    assert!(ask("10.0.0.129", "10.0.0.204").contains("its own requests do not leave it"));
    assert!(ask("169.254.1.1", "10.0.0.204").contains("--from is the client"));
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(format!("{name}.json"))
}

/// A host whose second card has a name that the kernel allows and few formats do.
fn odd_names(directory: &Path) -> PathBuf {
    let text = fs::read_to_string(example("cloud")).expect("an example");
    let file = directory.join("odd-names.json");
    fs::write(&file, text.replace("\"ens6\"", r#""<&\"'\\\u0001\u202e]]>é""#)).expect("a file");
    file
}

/// Hosts at whose second card something gets lost.
fn losses(directory: &Path) -> [(&'static str, PathBuf); 2] {
    let lost = |name: &'static str, host: &str, old: &str, new: &str| {
        let text = fs::read_to_string(example(host)).expect("an example");
        let (before, behind) = text.split_once(old).expect("what is replaced");
        let file = directory.join(format!("{name}.json"));
        fs::write(&file, format!("{before}{new}{behind}")).expect("a file");
        (name, file)
    };
    let up = "\"ens6\",\n      \"kind\": \"veth\",\n      \"arphrd\": 1,\n      \"flags\": 69699";
    let filter = "\"net/ipv4/conf/ens6/rp_filter\": ";
    [
        lost("filtered", "doors", &format!("{filter}\"0\""), &format!("{filter}\"1\"")),
        lost("no-carrier", "doors-managed", up, &up.replace("69699", "4099")),
    ]
}

fn figure(snapshot: &Path, flow: Flow<'_>, format: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_multihome"));
    command.args(["diagram", "--format", format, "--snapshot"]).arg(snapshot);
    if let Some((from, to)) = flow {
        command.args(["--from", from, "--to", to]);
    }
    let output = command.output().expect("multihome");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs Chromium on a page; its answer is what it prints.
fn chromium(directory: &Path, options: &[&str], page: &str) -> String {
    let profile = directory.join("profile");
    let _ = fs::remove_dir_all(&profile);
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--allow-file-access-from-files", "--hide-scrollbars"])
        .args(["--window-size=1280,6400", "--virtual-time-budget=20000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(options)
        .arg(format!("file://{}", directory.join(page).display()))
        .output()
        .expect("chromium (Debian's package of that name)");
    let _ = fs::remove_dir_all(&profile);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
