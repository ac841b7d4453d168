/** What is used of dagre. Its own types name files without extensions, which Node's resolution does not find. */
declare module "@dagrejs/dagre" {
  interface Point {
    readonly x: number;
    readonly y: number;
  }
  interface Size {
    readonly width: number;
    readonly height: number;
  }
  interface Edge {
    readonly v: string;
    readonly w: string;
  }
  export class Graph {
    setGraph(label: Readonly<Record<string, number | string>>): this;
    setDefaultEdgeLabel(label: () => object): this;
    setNode(name: string, size: Size): this;
    setEdge(from: string, to: string): this;
    /** After `layout`: the drawing's size, the middle of each node, the points of each edge. */
    graph(): Partial<Size>;
    node(name: string): Point & Size;
    edges(): Edge[];
    edge(edge: Edge): { readonly points: readonly Point[] };
  }
  export function layout(graph: Graph): void;
}
