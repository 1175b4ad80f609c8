// metrics: what people are told about listeners.
export const messages = {
  address: (text: string) => `${text}: not host:port, such as 127.0.0.1:9630 or [::1]:9630`,
  needsTls: (text: string) =>
    `${text} is not a loopback address: there metrics are shown over TLS to clients with a certificate only; ` +
    "give a certificate, its key and the authority of clients' certificates",
  unreadable: (file: string, why: string) => `${file} cannot be read: ${why}`,
  kept: "the renewed certificate cannot be used; the one before stays",
  sourceFailed: "metrics could not be gathered",
} as const;
