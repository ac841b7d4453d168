export function layerOf(path: string): string | undefined;
export function mayImport(from: string, to: string, typeOnly?: boolean): boolean;
