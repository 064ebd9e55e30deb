export interface ParseOptions {
  /** Port of the default listener, instead of the file's. */
  readonly port?: number | undefined;
  /** Unknown keywords and bad values are warned of and left out, as the original did. */
  readonly lenient?: boolean | undefined;
  /** The files of a folder, for `include_dir`. */
  readonly include?: ((folder: string) => { file: string; text: string }[]) | undefined;
}
