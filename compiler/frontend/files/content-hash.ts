import { createHash } from "node:crypto";

/** Large files are hashed by the chunk, so that they can be checked, and resumed, by the chunk. */
export const hashChunkBytes = 64 * 1024 * 1024;

export interface ContentHash {
  readonly size: number;
  /** SHA-256 of the whole content, in hex. */
  readonly sha256: string;
  /** SHA-256 of each 64 MiB chunk, in hex; the last one may be shorter. */
  readonly chunks: readonly string[];
}

/** Hashes a stream whole and by the chunk in one pass, however the stream is cut. */
export class ContentHasher {
  readonly #whole = createHash("sha256");
  readonly #chunks: string[] = [];
  readonly #chunkBytes: number;
  #chunk = createHash("sha256");
  #inChunk = 0;
  #size = 0;

  constructor(chunkBytes: number = hashChunkBytes) {
    this.#chunkBytes = chunkBytes;
  }

  update(bytes: Uint8Array): void {
    this.#whole.update(bytes);
    this.#size += bytes.length;
    let at = 0;
    while (at < bytes.length) {
      const take = Math.min(bytes.length - at, this.#chunkBytes - this.#inChunk);
      this.#chunk.update(bytes.subarray(at, at + take));
      this.#inChunk += take;
      at += take;
      if (this.#inChunk === this.#chunkBytes) this.#endChunk();
    }
  }

  digest(): ContentHash {
    if (this.#inChunk > 0) this.#endChunk();
    return { size: this.#size, sha256: this.#whole.digest("hex"), chunks: this.#chunks };
  }

  #endChunk(): void {
    this.#chunks.push(this.#chunk.digest("hex"));
    this.#chunk = createHash("sha256");
    this.#inChunk = 0;
  }
}
