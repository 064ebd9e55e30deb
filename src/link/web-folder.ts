import fs from "node:fs";
import { realpath, stat } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import path from "node:path";
import send, { type SendOptions } from "send";

const INDEX = "index.html";

/** The files of a folder for GET and HEAD: regular ones whose real place is in the folder, none that is hidden. */
export class WebFolder {
  /** @param root the folder's real path. */
  private constructor(private readonly root: string) {}

  /** Rejects with the system's error, or if it is no folder. */
  static async open(folder: string): Promise<WebFolder> {
    const root = await realpath(folder);
    if (!(await stat(root)).isDirectory()) throw new Error(`http_dir ${folder} is not a folder`);
    return new WebFolder(root);
  }

  serve(request: IncomingMessage, response: ServerResponse): void {
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("Allow", "GET, HEAD");
      return answer(response, 405);
    }
    const levels = levelsOf(request.url ?? "");
    if (!levels) return answer(response, 400);
    this.find(levels).then(
      (found) => this.answerWith(found, request, response),
      () => answer(response, 404),
    );
  }

  /** The file that a request means, or the folder that it should have named with a slash; undefined: none that is served. */
  private async find(levels: readonly string[]): Promise<{ file: string } | { folder: string } | undefined> {
    if (levels.some((level) => level.startsWith("."))) return undefined;
    const real = await realpath(path.join(this.root, ...levels, ...(levels.at(-1) === "" ? [INDEX] : [])));
    if (!real.startsWith(`${this.root}${path.sep}`.replace("//", "/"))) return undefined;
    const kind = await stat(real);
    if (kind.isDirectory()) return { folder: `/${levels.map(encodeURIComponent).join("/")}/` };
    // Opening a pipe or a device could block a thread that the store needs.
    return kind.isFile() ? { file: path.relative(this.root, real) } : undefined;
  }

  private answerWith(found: { file: string } | { folder: string } | undefined, request: IncomingMessage, response: ServerResponse): void {
    if (response.destroyed) return;
    if (!found) return answer(response, 404);
    if ("folder" in found) {
      response.setHeader("Location", found.folder);
      return answer(response, 301);
    }
    response.setHeader("X-Content-Type-Options", "nosniff");
    const options: SendOptions & { fs: object } = { root: this.root, index: false, dotfiles: "ignore", fs: { ...fs, read: readInTurn } };
    const url = found.file.split(path.sep).map(encodeURIComponent).join("/");
    send(request, url, options)
      .on("error", (error: { status?: number }) => answer(response, error.status ?? 500))
      .pipe(response);
  }
}

/** The decoded levels of a request's path, the last one empty if it ends in a slash; undefined if it is malformed. */
function levelsOf(url: string): string[] | undefined {
  if (!url.startsWith("/")) return undefined;
  const end = url.search(/[?#]/);
  let decoded: string;
  try {
    decoded = decodeURIComponent(end < 0 ? url : url.slice(0, end));
  } catch {
    return undefined;
  }
  if (/[\0\\]/.test(decoded)) return undefined;
  const levels = decoded.split("/").slice(1);
  return [...levels.slice(0, -1).filter((level) => level !== ""), levels.at(-1) ?? ""];
}

function answer(response: ServerResponse, status: number): void {
  if (response.headersSent) return void response.destroy();
  response.removeHeader("X-Content-Type-Options");
  response.writeHead(status, { "Content-Length": 0 });
  response.end();
}

const turns: (() => void)[] = [];
let isReading = false;

/** Reads of files take one of libuv's few threads at a time: the store needs the others. */
const readInTurn = ((fd, buffer, offset, length, position, callback) => {
  const read = (): void => {
    isReading = true;
    fs.read(fd, buffer, offset, length, position, (error, bytesRead, bytes) => {
      isReading = false;
      turns.shift()?.();
      callback(error, bytesRead, bytes);
    });
  };
  if (isReading) turns.push(read);
  else read();
}) as (fd: number, buffer: Buffer, offset: number, length: number, position: fs.ReadPosition | null, callback: (error: Error | null, bytesRead: number, buffer: Buffer) => void) => void;
