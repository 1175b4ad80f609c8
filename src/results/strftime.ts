// results: strftime(3) for the time() and strftime() functions, in local time; %f is microseconds, as in bpftrace.

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];

const two = (n: number): string => String(n).padStart(2, "0");
const spaced = (n: number): string => String(n).padStart(2);

/** 1-based day of the year. */
function dayOfYear(d: Date): number {
  const start = Date.UTC(d.getFullYear(), 0, 1);
  return Math.round((Date.UTC(d.getFullYear(), d.getMonth(), d.getDate()) - start) / 86_400_000) + 1;
}

/** ISO 8601 year and week. */
function isoWeek(d: Date): { readonly year: number; readonly week: number } {
  const day = (d.getDay() + 6) % 7;
  const thursday = new Date(d.getFullYear(), d.getMonth(), d.getDate() - day + 3);
  return { year: thursday.getFullYear(), week: Math.floor((dayOfYear(thursday) - 1) / 7) + 1 };
}

function zone(d: Date): string {
  const minutes = -d.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}${two(size % 60)}`;
}

/** `ns` since the epoch. An unknown conversion is left as it is. */
export function strftime(format: string, ns: bigint): string {
  const d = new Date(Number(ns / 1_000_000n));
  const hour = d.getHours() % 12 || 12;
  const expand = (c: string): string | undefined => {
    switch (c) {
      case "H":
        return two(d.getHours());
      case "I":
        return two(hour);
      case "k":
        return spaced(d.getHours());
      case "l":
        return spaced(hour);
      case "M":
        return two(d.getMinutes());
      case "S":
        return two(d.getSeconds());
      case "f":
        return String((ns / 1000n) % 1_000_000n).padStart(6, "0");
      case "p":
        return d.getHours() < 12 ? "AM" : "PM";
      case "P":
        return d.getHours() < 12 ? "am" : "pm";
      case "Y":
        return String(d.getFullYear());
      case "C":
        return two(Math.floor(d.getFullYear() / 100));
      case "y":
        return two(d.getFullYear() % 100);
      case "m":
        return two(d.getMonth() + 1);
      case "d":
        return two(d.getDate());
      case "e":
        return spaced(d.getDate());
      case "j":
        return String(dayOfYear(d)).padStart(3, "0");
      case "a":
        return DAYS[d.getDay()]?.slice(0, 3);
      case "A":
        return DAYS[d.getDay()];
      case "b":
      case "h":
        return MONTHS[d.getMonth()]?.slice(0, 3);
      case "B":
        return MONTHS[d.getMonth()];
      case "u":
        return String(d.getDay() || 7);
      case "w":
        return String(d.getDay());
      case "U":
        return two(Math.floor((dayOfYear(d) + 6 - d.getDay()) / 7));
      case "W":
        return two(Math.floor((dayOfYear(d) + 6 - ((d.getDay() + 6) % 7)) / 7));
      case "V":
        return two(isoWeek(d).week);
      case "G":
        return String(isoWeek(d).year);
      case "g":
        return two(isoWeek(d).year % 100);
      case "s":
        return String(ns / 1_000_000_000n);
      case "z":
        return zone(d);
      case "Z":
        return d.toLocaleTimeString("en-US", { timeZoneName: "short" }).split(" ").at(-1);
      case "n":
        return "\n";
      case "t":
        return "\t";
      case "%":
        return "%";
      case "T":
      case "X":
        return strftime("%H:%M:%S", ns);
      case "R":
        return strftime("%H:%M", ns);
      case "r":
        return strftime("%I:%M:%S %p", ns);
      case "D":
      case "x":
        return strftime("%m/%d/%y", ns);
      case "F":
        return strftime("%Y-%m-%d", ns);
      case "c":
        return strftime("%a %b %e %H:%M:%S %Y", ns);
      default:
        return undefined;
    }
  };
  return format.replace(/%[EO]?(.)/g, (all, c: string) => expand(c) ?? all);
}
